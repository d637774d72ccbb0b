"""The predicted quality of the task's mask: as it was opened, and again after each edit, in a warm child process that nobody waits for."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from AtlasQualityLib import panel_quality_model
from AtlasQualityLib.mask_set import SceneLayer, write_scene_masks
from AtlasQualityLib.organ_table import read_predicted_quality
from AtlasQualityLib.panel_quality_model import QualityModelChoice
from AtlasQualityLib.panel_worst import SliceMenu, WorstSlices
from AtlasQualityLib.scene_masks import segment_layer
from AtlasQualityLib.scene_slice_place import Point, place_in_slice
from AtlasQualityLib.slice_scores import OrganQuality, ScoredSlice
from AtlasReviewLib.panel_profile import ProfilePanel
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.scene_mask import grid_in_scene
from AtlasSegmentLib.child_process import ChildProcess, Event, find_python
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.panel_errors import displayable
from AtlasSegmentLib.panel_threads import letThreadsRun
from AtlasSegmentLib.sparse import SparseVolume

_log = logging.getLogger(__name__)
_CALL = "AtlasQualityLib.tasks_quality:score_scene_masks"
_POLL_MILLISECONDS = 80
_QUIET_SECONDS = 0.15
"""A mask that has not changed for as long is scored: a stroke is over."""
_OPEN_SECONDS = 0.5
"""After a task was opened: the next case is read ahead first."""
LONGEST_SECONDS, OTHER_TASK_SECONDS = 120.0, 5.0
"""How long an answer is waited for; that for a task that was left keeps the next one waiting."""
_LARGEST_BYTES = 32 << 20
_OF_THE_MASK = frozenset({"InputError", "GeometryError", "DatasetError", "LabelError"})
"""Errors that concern one task alone; after any other one the model is not asked again."""


class QualityPanel:
    """Scores the mask of the open task.

    Args:
        ui: The widgets of the panel.
        task: The open task.
        profile: Colors its slices.
        child: The process; by default one of Slicer's Python.
    """

    def __init__(self, ui: Any, task: TaskPanel, profile: ProfilePanel, child: ChildProcess | None = None) -> None:
        self.ui, self._task, self._profile = ui, task, profile
        self._choice = QualityModelChoice()
        self._child = child or ChildProcess(find_python(slicer.app.slicerHome))
        self._session: Any = None
        self.before: OrganQuality | None = None
        self.after: OrganQuality | None = None
        self._seen: tuple[Any, float] = (None, 0.0)
        self._opened = self._scored = None
        self._sent: tuple[Any, bool] | None = None
        self._sentAt = 0.0
        self._folder: Path | None = None
        self._baseline = ""  # the model that has scored the mask as it was opened
        self._off, self._asked, self._told, self._note = "", "", "", ""
        self.worst = WorstSlices(ui.worstSliceButton, ui.worstSliceLabel, self._place, self._profile.setWorst)
        self._menu = SliceMenu(ui.profileRedLabel, self.worst, self._showScores)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)
        self.update()

    def update(self) -> None:
        """Follow the open task: what is known of its mask is shown at once, and scored anew when it can be edited."""
        session = self._task.session
        if session is self._session:
            return
        self._session, self.after, self._note, self._baseline = session, None, "", ""
        self._opened, self._scored = self._task.stamp, None
        self._seen = (self._opened, time.monotonic() + _OPEN_SECONDS)
        self.before = self._stored()
        self._showScores()
        if session is not None:
            self._timer.start()

    def _stored(self) -> OrganQuality | None:
        """Return what the case folder says of the mask; nothing where it was revised since."""
        session = self._session
        if session is None or session.loaded.baseline.revised:
            return None
        return read_predicted_quality(session.loaded.case).get(session.loaded.organ)

    # Asking

    def _poll(self) -> None:
        """Take in what the child has told, and send it the mask when that was changed and no stroke is being made."""
        if self._sent is not None:
            letThreadsRun()  # those that read and write the child's pipes
        for event in self._child.events():
            if event.kind in ("result", "error"):
                self._answered(event)
        if self._sent is not None and time.monotonic() - self._sentAt > self._patience():
            self._child.kill()  # it reads a CT that nobody waits for any more, or hangs
            self._answered(Event("error", text=_("the quality model did not answer."), value="Ended"))
        if self._sent is not None or self._session is None or self._session is not self._task.session:
            if self._sent is None and self._session is None:
                self._timer.stop()
            return
        stamp, now = self._task.stamp, time.monotonic()
        if stamp != self._seen[0]:
            self._seen = (stamp, now + _QUIET_SECONDS)
        elif now >= self._seen[1] and stamp != self._scored and self._task.editable and self._mayScore():
            self._send(stamp)

    def _patience(self) -> float:
        """Return how long to wait for an answer, seconds."""
        return LONGEST_SECONDS if self._sent is not None and self._sent[0] is self._session else OTHER_TASK_SECONDS

    def _mayScore(self) -> bool:
        """Tell whether model and CT are there; where they are not, the reason is said once."""
        reason = self._choice.reason()
        if not reason and self._off and self._asked != self._key():
            self._off = ""  # another model was chosen
        reason = reason or self._off
        if not reason and self._session.loaded.ct is None:
            reason = _("this case has no CT")
        if reason:
            self._scored = self._task.stamp
            self._tell(reason)
        return not reason

    def _key(self) -> str:
        return str(self._choice.arguments())

    def _tell(self, reason: str) -> None:
        """Say why masks are not scored, once for each cause."""
        if reason != self._told:
            self._told = reason
            self._note = displayable(_("Edits are not scored: {reason}").format(reason=reason))
        self._show()

    def _send(self, stamp: Any) -> None:
        """Let the child score the mask: first as it was opened, then as it is now."""
        loaded, opened = self._session.loaded, self._baseline != self._key()
        try:
            layer = self._baselineLayer() if opened else self._layer()
            if layer is None:
                return
            path = self._leave(layer)
        except (AtlasError, OSError) as error:  # the nodes were moved or removed, or there is no space; it is tried after the next edit
            _log.warning("the mask was not scored: %s", error)
            self._scored = stamp
            return
        arguments = {"ct": str(loaded.case.ct), "masks": str(path), **self._choice.arguments()}
        self._asked, self._sent = self._key(), (self._session, opened)
        self._scored = self._opened if opened else stamp  # where the reader drew meanwhile, that is scored next
        self._sentAt = time.monotonic()
        self._child.send(_CALL, arguments)
        letThreadsRun()
        self._show()

    def _layer(self) -> SceneLayer | None:
        """Return the mask in the editor: as Slicer keeps it where that is small and on the voxels of the CT, which takes no time."""
        nodes, loaded = self._task.nodes, self._session.loaded
        if nodes is None or not nodes.whole:
            return None
        grid = grid_in_scene(nodes, loaded.grid)
        layer = segment_layer(nodes.segmentation, nodes.segment, structure_for(loaded.organ).name, grid)
        if layer is not None and layer.array.nbytes <= _LARGEST_BYTES:
            return layer
        mask = self._task.mask()
        return None if mask is None else self._sparseLayer(mask)

    def _baselineLayer(self) -> SceneLayer:
        return self._sparseLayer(self._session.loaded.baseline.mask)

    def _sparseLayer(self, mask: SparseVolume) -> SceneLayer:
        x, y, z = (side.start for side in mask.box)
        return SceneLayer(mask.crop.astype(np.uint8, copy=False), (x, y, z), {1: structure_for(self._session.loaded.organ).name})

    def _leave(self, layer: SceneLayer) -> Path:
        """Leave a mask on the disk for the child."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="AtlasReview-quality-", dir=slicer.app.temporaryPath))
        return write_scene_masks(self._folder, self._session.loaded.organ, self._session.loaded.grid, [layer])

    def _answered(self, event: Event) -> None:
        sent, self._sent = self._sent, None
        if sent is None or sent[0] is not self._session or self._task.session is not self._session:  # another task was opened meanwhile
            return
        if event.kind == "error":
            reason = " ".join(part for part in (event.text, event.remedy) if part)
            _log.warning("the mask was not scored: %s", reason)
            if event.value not in _OF_THE_MASK:
                self._off = reason
            self._tell(reason)
            return
        try:
            described = next(iter(event.value["organs"].values()))
            quality = OrganQuality.from_json(described)
        except (StopIteration, KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("the mask was not scored: %r", error)
            return
        if sent[1]:
            self.before, self.after, self._baseline = quality, None, self._asked
        else:
            self.after = quality
        self._showScores()

    # What is shown

    @property
    def shown(self) -> OrganQuality | None:
        """What is known of the mask as it is now."""
        return self.after or self.before

    def _showScores(self) -> None:
        """Show number and colors anew."""
        self._profile.setQuality(self.shown, panel_quality_model.palette())
        self.worst.show(self.shown)
        self._show()

    def _show(self) -> None:
        text = qualityText(self.before, self.after)
        if text and self._sent is not None and not self._sent[1]:
            text += " \N{HORIZONTAL ELLIPSIS}"
        lines = [line for line in (text, self._note) if line]
        self.ui.qualityLabel.setText("\n".join(lines))
        self.ui.qualityLabel.setVisible(bool(lines))
        self.ui.worstSliceButton.setVisible(self.shown is not None)

    def _place(self, one: ScoredSlice) -> Point | None:
        nodes, session = self._task.nodes, self._session
        if nodes is None or session is None or not nodes.whole:
            return None
        return place_in_slice(nodes.segmentation, nodes.segment, one.index, grid_in_scene(nodes, session.loaded.grid))

    def cleanup(self) -> None:
        """Kill the child and let go of everything."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._poll)
        self._child.kill()
        self._menu.cleanup()
        self.worst.cleanup()
        self._session = self._sent = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def qualityText(before: OrganQuality | None, after: OrganQuality | None) -> str:
    """Return such as "Predicted Dice 0.81 ± 0.05", after an edit "Predicted Dice 0.81 → 0.90 ± 0.03", "" when nothing is known."""
    texts: list[str] = []
    for quality, alone in ((before, after is None), (after, True)):
        if quality is not None:
            texts.append((quality.text if alone else f"{quality.dice:.2f}") if quality.dice is not None else _("none, the mask is empty"))
    return str(_("Predicted Dice {text}").format(text=" \N{RIGHTWARDS ARROW} ".join(texts))) if texts else ""
