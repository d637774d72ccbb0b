"""What the panel keeps with the scene, and how a saved scene opens its task again.

What a loaded scene holds is removed only when its mask is in the editor; otherwise it stays, and the reader is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib import scene
from AtlasReviewLib.file_stamp import stamp
from AtlasReviewLib.scene import TaskNodes
from AtlasReviewLib.scene_restored import BASE, PREDICTION, find_restored, keep_apart, restored_mask
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.panel_errors import displayable, errorText, showError

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel


class SceneRestore:
    """Writes dataset, task and filter to the parameter node, and goes back there when a scene is loaded.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel
        self._busy = self._awaited = False
        self._base: tuple[Any, str] = (None, "")

    @property
    def _restoring(self) -> bool:
        """Whether the dataset of a loaded scene is being opened; over as soon as that succeeded or failed."""
        return self._busy or (self._awaited and self._panel.dataset.opening)

    def remember(self) -> None:
        """Write what is open to the parameter node, and to its segmentation which revision the edits began with."""
        self._markBase()
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

    def _markBase(self) -> None:
        nodes, base = self._panel.task.nodes, self._currentBase()
        if base and nodes is not None and nodes.whole and nodes.segmentation.GetAttribute(BASE) != base:
            nodes.segmentation.SetAttribute(BASE, base)

    def _currentBase(self) -> str:
        """Return what the open task was read from or last saved as; "" when it is not known."""
        session = self._panel.task.session
        if session is None:
            return ""
        if self._base[0] is not session.loaded:
            self._base = (session.loaded, _baseOf(session.loaded))
        return self._base[1]

    def restore(self) -> None:
        """After a scene was loaded: open its dataset and task again, with the mask that the scene holds."""
        parameters = self._panel.parameters()
        if parameters is None or not parameters.datasetFolder:
            return
        folder, case, organ = Path(parameters.datasetFolder), parameters.caseName, parameters.organ
        self._busy, self._awaited = True, False
        try:
            self._panel.list.setStateFilter(parameters.stateFilter)
            found = self._find(folder / case, organ) if case else None
            opened = self._openDataset(folder, case, organ, found)
        except AtlasError as error:
            opened = False
            showError(error)
        finally:
            self._busy = False
        if opened:
            self._openTask(case, organ, found)

    def _find(self, folder: Path, organ: str) -> TaskNodes | None:
        nodes = self._panel.task.nodes
        return find_restored(str(folder), organ, [] if nodes is None else list(nodes.all()))

    def _openDataset(self, folder: Path, case: str, organ: str, found: TaskNodes | None) -> bool:
        """Open the dataset of a loaded scene; True when it is open already."""
        panel = self._panel
        if panel.context.worklist is not None and panel.context.folder == folder:
            return True
        panel.ui.folderPath.setCurrentPath(str(folder))
        reason = panel.dataset.reason()
        if not reason and not folder.is_dir():
            reason = _("{folder} is not there.").format(folder=folder)
        if reason:
            if found is not None:
                text = _("The task of the loaded scene cannot be opened; its CT and mask stay in the scene as they are.")
                slicer.util.warningDisplay(displayable(f"{text}\n{reason}"))
            return False
        self._awaited = True
        panel.dataset.open(then=lambda: self._openTask(case, organ, found))
        return False

    def _openTask(self, case: str, organ: str, found: TaskNodes | None) -> None:
        self._awaited = False
        panel, worklist = self._panel, self._panel.context.worklist
        if worklist is None or not case:
            return
        try:
            listed = panel.context.index.named(case, organ)
            task = worklist.task(case, organ, listed.reading if listed is not None else 1)
            session, nodes = panel.task.session, panel.task.nodes
            if session is not None and session.task.id == task.id and nodes is not None and nodes.whole and panel.task.opening is None:
                self._stayWithTask(nodes, found)  # a scene was added to the one that is being worked on
            else:
                panel.navigation.open(task, then=lambda: self._bring(found))
        except AtlasError as error:
            showError(error)

    def _stayWithTask(self, nodes: TaskNodes, found: TaskNodes | None) -> None:
        if found is not None:
            self._panel.editor.attach(nodes, self._panel.task.editable)  # the added scene brought the choices of its own editor
            scene.hide_others(nodes)
            self._keep(found, _("This task is open with other edits."))

    def _bring(self, found: TaskNodes | None) -> None:
        """Put the mask of the loaded scene into the editor and remove its nodes, or keep them and say why."""
        task, session = self._panel.task, self._panel.task.session
        if found is None or session is None or not found.whole:
            return
        try:
            mask = restored_mask(found, session.loaded.grid)
        except AtlasError as error:
            self._keep(found, errorText(error))
            return
        if session.is_changed(mask):
            if not task.editable:
                self._keep(found, _("The task cannot be edited now."))
                return
            if found.segmentation.GetAttribute(BASE) != self._currentBase() and not _confirmed(session.task.organ):
                self._keep(found)
                return
            task.putMask(mask)
        scene.remove_task(found)

    def _keep(self, found: TaskNodes, reason: str = "") -> None:
        text = _("The mask of the loaded scene stays in the scene as {name}.").format(name=keep_apart(found))
        if reason:
            slicer.util.warningDisplay(displayable(f"{text}\n{reason}"))
        self._panel.say(displayable(text))


def _confirmed(organ: str) -> bool:
    text = _("The mask of {organ} in the loaded scene is older than the newest revision. Put it into the editor anyway?")
    return bool(slicer.util.confirmYesNoDisplay(displayable(text.format(organ=organ))))


def _baseOf(loaded: Any) -> str:
    """Return the hash of the revision that was read, PREDICTION where there is none, "" when it is another one by now."""
    revised = loaded.case.average.revised_mask(loaded.organ)
    if not loaded.baseline.revised:
        return PREDICTION
    try:
        digest = sha256_of(revised)
    except AtlasError:
        return ""
    return digest if stamp(revised) == loaded.stamps.get(str(revised)) else ""
