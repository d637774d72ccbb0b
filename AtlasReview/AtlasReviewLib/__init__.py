"""Correcting labels: revisions, assembly of the dataset, and the program. Needs no Slicer."""
