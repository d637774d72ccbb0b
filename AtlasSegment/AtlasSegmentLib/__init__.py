"""Labels from a CT: volumes, formats, label tables, models and inference. Needs no Slicer."""
