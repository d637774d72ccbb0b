"""What the panel of Atlas Segment keeps with the scene.

Slicer reads these type hints when it wraps the class, so they are not postponed.
"""

from typing import Annotated, Any

import slicer
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

DEVICES = ("auto", "gpu", "cpu")


@parameterNodeWrapper
class AtlasSegmentParameterNode:
    """The choices on the panel.

    Attributes:
        ct: The volume to segment.
        roi: Region of interest, or None.
        models: Folders of the checked models.
        device: What the models run on.
        resultsFolder: Dataset folder, "" for a temporary one.
        result: The segmentation that is shown.
        opacity: Of its organs in the slice views.
        outline: Whether only outlines are drawn.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    roi: slicer.vtkMRMLMarkupsROINode
    models: list[str]
    device: Annotated[str, Choice(list(DEVICES))] = "auto"
    resultsFolder: str
    result: slicer.vtkMRMLSegmentationNode
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    outline: bool


def parametersIn(node: Any) -> Any:
    """Return the parameters that are kept in a vtkMRMLScriptedModuleNode."""
    wrapper: Any = AtlasSegmentParameterNode
    return wrapper(node)
