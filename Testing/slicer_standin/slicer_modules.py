"""What the application adds to `slicer`: widget classes, and the Python modules i18n, packaging, parameterNodeWrapper and so on."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import slicer

PACKAGING_SINCE = (5, 11)  # slicer.packaging came with the preview 5.11 and the release 5.12
WIDGET_FILES = (
    "mrml_widget",
    "mrml_node_combo_box",
    "mrml_number_widgets",
    "mrml_segments_table",
    "mrml_segment_widgets",
    "mrml_data_views",
    "segment_editor",
    "loaded_module",
)


def install_widgets() -> None:
    """Put every qMRML and qSlicer class of the stand-in into `slicer`."""
    for name in WIDGET_FILES:
        module = importlib.import_module(f"{__package__}.{name}")
        for class_name, value in vars(module).items():
            if isinstance(value, type) and class_name.startswith(("qMRML", "qSlicer")):
                setattr(slicer, class_name, value)


def install_python_modules(version: tuple[int, int]) -> None:
    """Put the Python modules of this version of Slicer into sys.modules."""
    from . import installer, parameter_annotations, parameter_gui, parameter_node, sample_data, scripted_module, translation

    _add("slicer.i18n", translation, ("tr", "translate", "getContext"))
    _add("slicer.ScriptedLoadableModule", scripted_module, tuple(scripted_module.__all__))
    wrapper = _add("slicer.parameterNodeWrapper", parameter_node, parameter_node.PUBLIC)
    for source, names in ((parameter_annotations, parameter_annotations.PUBLIC), (parameter_gui, parameter_gui.PUBLIC)):
        vars(wrapper).update({name: getattr(source, name) for name in names})
    vars(wrapper)["__all__"] = [*parameter_node.PUBLIC, *parameter_annotations.PUBLIC, *parameter_gui.PUBLIC]
    if version >= PACKAGING_SINCE:
        _add("slicer.packaging", installer, installer.PUBLIC)
    else:
        sys.modules["slicer.packaging"] = None  # type: ignore[assignment] # importing it raises ImportError
        vars(slicer).pop("packaging", None)
    slicer.util.pip_install, slicer.util.pip_uninstall = installer.pip_install, installer.pip_uninstall
    sys.modules["SampleData"] = _namespace("SampleData", sample_data, sample_data.PUBLIC)


def _add(name: str, source: types.ModuleType, names: tuple[str, ...]) -> Any:
    module = _namespace(name, source, names)
    sys.modules[name] = module
    setattr(slicer, name.removeprefix("slicer."), module)
    return module


def _namespace(name: str, source: types.ModuleType, names: tuple[str, ...]) -> types.ModuleType:
    module = types.ModuleType(name, source.__doc__)
    vars(module).update({key: getattr(source, key) for key in names}, __all__=list(names))
    return module
