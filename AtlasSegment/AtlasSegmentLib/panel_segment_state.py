"""What the panel of Atlas Segment keeps with the scene.

Slicer reads these type hints when it wraps the class, so they are not postponed.
"""

from typing import Annotated, Any

import slicer
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

DEVICES = ("auto", "gpu", "cpu")
PRESETS = ("fast", "balanced", "best")
OWN = "as the preset"
MIRRORING = (OWN, "on", "off")


@parameterNodeWrapper
class AtlasSegmentParameterNode:
    """The choices on the panel.

    Attributes:
        ct: The volume to segment.
        roi: Region of interest, or None.
        models: Folders of the checked models.
        preset: How much a prediction may cost; see `inference_settings`.
        step: Distance of sliding windows as a share of the window; 0 is the preset's own.
        mirroring: Whether the mean over mirrored images is taken.
        device: What the models run on.
        resultsFolder: Dataset folder, "" for a temporary one.
        result: The segmentation that is shown.
        opacity: Of its organs in the slice views.
        outline: Whether only outlines are drawn.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    roi: slicer.vtkMRMLMarkupsROINode
    models: list[str]
    preset: Annotated[str, Choice(list(PRESETS))] = "balanced"
    step: Annotated[float, WithinRange(0, 1)]
    mirroring: Annotated[str, Choice(list(MIRRORING))] = OWN
    device: Annotated[str, Choice(list(DEVICES))] = "auto"
    resultsFolder: str
    result: slicer.vtkMRMLSegmentationNode
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    outline: bool


def settingsIn(parameters: Any) -> dict[str, Any]:
    """Return the choices about cost as `tasks.segment_files` takes them; None is the preset's own."""
    mirror = {"on": True, "off": False}.get(parameters.mirroring)
    return {"preset": parameters.preset, "step": round(parameters.step, 2) or None, "mirror": mirror}


def parametersIn(node: Any) -> Any:
    """Return the parameters that are kept in a vtkMRMLScriptedModuleNode."""
    wrapper: Any = AtlasSegmentParameterNode
    return wrapper(node)
