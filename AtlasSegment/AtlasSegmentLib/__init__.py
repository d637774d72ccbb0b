"""Labels from a CT: volumes, formats, label tables, models and inference. Needs no Slicer."""

import os

# ONNX Runtime's official builds for Linux and macOS (1.29 and later) report to their maker unless this is set before they are loaded;
# nothing leaves this machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
