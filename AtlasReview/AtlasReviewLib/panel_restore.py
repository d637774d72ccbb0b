"""What the panel keeps with the scene, and how a saved scene opens its task again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from AtlasReviewLib import scene
from AtlasReviewLib.panel_messages import showError
from AtlasReviewLib.review_case import sparse_of
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.sparse import SparseVolume

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel


class SceneRestore:
    """Writes dataset, task and filter to the parameter node, and goes back there when a scene is loaded.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel
        self._restoring = False

    def remember(self) -> None:
        """Write what is open to the parameter node."""
        parameters = self._panel.parameters()
        if parameters is None or self._restoring:
            return
        task = self._panel.task.task
        folder = str(self._panel.context.folder) if self._panel.context.worklist is not None else ""
        values = {
            "datasetFolder": folder,
            "caseName": task.case if task is not None else "",
            "organ": task.organ if task is not None else "",
            "stateFilter": self._panel.list.stateFilter,
        }
        for name, value in values.items():
            if getattr(parameters, name) != value:
                setattr(parameters, name, value)

    def restore(self) -> None:
        """After a scene was loaded: open its dataset and task again, with the mask that the scene holds."""
        parameters = self._panel.parameters()
        if parameters is None or not parameters.datasetFolder:
            return
        folder, case, organ = Path(parameters.datasetFolder), parameters.caseName, parameters.organ
        self._restoring = True
        self._panel.list.setStateFilter(parameters.stateFilter)
        mask = self._maskOfScene(folder / case, organ) if case else None
        open_now = self._panel.context.worklist is not None and self._panel.context.folder == folder
        if open_now:
            self._openTask(case, organ, mask)
            return
        self._panel.ui.folderPath.setCurrentPath(str(folder))
        if self._panel.dataset.reason() or not folder.is_dir():
            self._restoring = False
            return
        try:
            self._panel.dataset.open(then=lambda: self._openTask(case, organ, mask))
        except AtlasError as error:
            self._restoring = False
            showError(error)

    def _maskOfScene(self, folder: Path, organ: str) -> SparseVolume | None:
        """Take the edited mask out of the loaded scene and remove its nodes: the task is shown anew from the files."""
        nodes = scene.find_task_nodes(str(folder), organ)
        if nodes is None:
            return None
        from AtlasSegmentLib.scene import grid_of_node
        from AtlasSegmentLib.scene_segmentation import mask_of_segment

        grid = grid_of_node(nodes.background)
        mask = mask_of_segment(nodes.segmentation, nodes.segment, grid)
        scene.remove_task(nodes)
        return sparse_of(mask.array, grid)

    def _openTask(self, case: str, organ: str, mask: SparseVolume | None) -> None:
        self._restoring = False
        worklist = self._panel.context.worklist
        if worklist is None or not case:
            return
        try:
            task = worklist.task(case, organ)
            self._panel.navigation.open(task, then=lambda: self._putMask(mask))
        except AtlasError as error:
            showError(error)

    def _putMask(self, mask: SparseVolume | None) -> None:
        session = self._panel.task.session
        if mask is None or session is None or mask.grid.shape != session.loaded.grid.shape:
            return
        found = SparseVolume(session.loaded.grid, mask.box, mask.crop)
        if session.is_changed(found):
            self._panel.task.putMask(found)
