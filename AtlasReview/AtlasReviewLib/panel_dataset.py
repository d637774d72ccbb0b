"""The section that opens a dataset folder for a reader: read in the background, damaged lists rebuilt after a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.autosave import Autosave, find_autosaves
from AtlasReviewLib.background import Work
from AtlasReviewLib.panel_background import PanelWork
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_sync import News, look
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_deadline import bound_servers, release_servers
from AtlasReviewLib.worklist_index import WorklistIndex
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rebuild import rebuild_worklist
from AtlasReviewLib.worklist_rules import Rules
from AtlasReviewLib.worklist_store import WorklistDamagedError, needed_packages
from AtlasReviewLib.worklist_tls import unprotected
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable, guarded, showError
from AtlasSegmentLib.panel_packages import ensurePackages

_FOLDER_KEY, _READER_KEY = "AtlasReview/dataset", "AtlasReview/reader"
Opened = tuple[Worklist, Sequence[str], Sequence[Autosave], Rules, News]


class DatasetPanel:
    """The section with folder and reader.

    Args:
        ui: The widgets of the panel.
        context: Gets the worklist and the reader.
        onClosing: Called before another dataset is opened; False keeps the one that is open.
        onOpened: Called when a dataset was opened, with unsaved edits that were found in it, and its tasks.
    """

    def __init__(
        self, ui: Any, context: ReviewContext, onClosing: Callable[[], bool], onOpened: Callable[[Sequence[Autosave], News], None]
    ) -> None:
        self.ui, self._context, self._onClosing, self._onOpened = ui, context, onClosing, onOpened
        self._work = PanelWork(ui.openProgress)
        self._problem = self._trouble = ""
        self._bound = False
        settings = slicer.app.userSettings()
        ui.folderPath.setCurrentPath(str(settings.value(_FOLDER_KEY) or ""))
        ui.readerEdit.setText(str(settings.value(_READER_KEY) or ""))
        self._links = Links(
            (ui.openButton, "clicked(bool)", guarded(self.open)),
            (ui.readerEdit, "textChanged(QString)", guarded(self.update)),
            (ui.readerEdit, "returnPressed()", guarded(self._enterPressed)),
            (ui.folderPath, "currentPathChanged(QString)", guarded(self._pathChanged)),
        )
        self.update()

    @property
    def opening(self) -> bool:
        """Whether a dataset is being read."""
        return self._work.running

    def reason(self) -> str:
        """Return why no dataset can be opened, or ""."""
        if not self.ui.folderPath.currentPath.strip():
            return _("Choose a dataset folder.")
        if not self.ui.readerEdit.text.strip():
            return _("Enter your name: it becomes part of the names of your revisions.")
        try:
            checked_reader(self.ui.readerEdit.text)
        except AtlasError as error:
            return displayable(str(error))
        return ""

    def update(self) -> None:
        """Enable Open, or say why it is not; and what there is to know about the open dataset."""
        reason = self.reason()
        self.ui.openButton.setEnabled(not reason and not self.opening)
        self.ui.openButton.setToolTip(reason or _("Read the cases of the folder and open its worklist"))
        self.ui.openReasonLabel.setText(reason)
        self.ui.openReasonLabel.setVisible(bool(reason))
        notice = "\n".join(part for part in (self._trouble, self._problem, self._notice()) if part)
        self.ui.datasetNoticeLabel.setText(notice)
        self.ui.datasetNoticeLabel.setVisible(bool(notice))

    def setTrouble(self, text: str) -> None:
        """Show what is wrong with the worklist, "" when it is well again."""
        self._trouble = text
        self.update()

    def _notice(self) -> str:
        worklist = self._context.worklist
        if worklist is None:
            return ""
        notices = []
        if worklist.read_only:
            notices.append(_("This dataset folder cannot be written: you can look, but nothing can be taken or saved."))
        open_line = unprotected(worklist.store.place.url)
        notices += [displayable(open_line)] if open_line else []
        reader = self.ui.readerEdit.text.strip()
        if reader and reader != self._context.reader and not self.reason():
            text = _("You still read as {reader}. Press Open dataset to go on as {other}.")
            notices.append(text.format(reader=self._context.reader, other=displayable(reader)))
        return "\n".join(notices)

    def _enterPressed(self) -> None:
        if self.ui.openButton.enabled:
            self.open()

    def _pathChanged(self) -> None:
        self._problem = ""
        self.update()

    def open(self, then: Callable[[], None] | None = None) -> None:
        """Open the chosen folder as the chosen reader. Raises AtlasError when a name cannot be used."""
        reader = checked_reader(self.ui.readerEdit.text)
        folder = Path(self.ui.folderPath.currentPath.strip()).expanduser()
        if not self._onClosing():
            return
        self.ui.commentEdit.setText("")  # it was about a task of the dataset that was open
        self.close()
        place = place_of(folder)
        ensurePackages(needed_packages(place), _("Atlas Review"))
        if place.url:
            bound_servers()
            self._bound = True
        settings = slicer.app.userSettings()
        settings.setValue(_FOLDER_KEY, str(folder))
        settings.setValue(_READER_KEY, reader)
        fallback = self._context.fallback

        def read(work: Work[Opened]) -> Opened:
            worklist, scan = open_worklist(folder, work.progress)
            worklist.viewer = reader
            return worklist, scan.problems, find_autosaves(folder, reader, fallback), worklist.rules(), look(worklist, -1)

        self._start(Work(read), folder, reader, then)

    def _start(self, work: Work[Opened], folder: Path, reader: str, then: Callable[[], None] | None) -> None:
        self._work.wait(work, lambda opened: self._onRead(opened, reader, then), lambda error: self._onFailed(error, folder, reader, then))
        self.update()

    def _onRead(self, opened: Opened, reader: str, then: Callable[[], None] | None) -> None:
        worklist, problems, autosaves, rules, news = opened
        self._context.worklist, self._context.reader, self._context.rules = worklist, reader, rules
        self._problem = displayable("\n".join(problems))
        self.update()
        self.ui.datasetButton.setCollapsed(True)  # room for the work
        self._onOpened(autosaves, news)
        if then is not None:
            then()

    def _onFailed(self, error: Exception, folder: Path, reader: str, then: Callable[[], None] | None) -> None:
        self.update()
        if not isinstance(error, WorklistDamagedError):
            showError(error)
            return
        question = _("{error}\n\nKeep it under another name and build a new one from the cases?").format(error=error.message)
        if not slicer.util.confirmYesNoDisplay(displayable(question)):
            return
        fallback = self._context.fallback

        def rebuild(work: Work[Opened]) -> Opened:
            worklist, kept = rebuild_worklist(folder, work.progress)
            worklist.viewer = reader
            notice = _("The damaged worklist is kept as {name}.").format(name=kept.name)
            return worklist, [notice], find_autosaves(folder, reader, fallback), worklist.rules(), look(worklist, -1)

        self._start(Work(rebuild), folder, reader, then)

    def close(self) -> None:
        """Let go of the open dataset."""
        self._work.cancel()
        if self._context.worklist is not None:
            self._context.worklist.close()
        self._context.worklist, self._context.reader, self._context.index, self._context.rules = None, "", WorklistIndex(), Rules()
        self._problem = self._trouble = ""
        if self._bound:
            release_servers()
            self._bound = False

    def cleanup(self) -> None:
        """Let go of everything, at the end of the panel."""
        self._links.cut()
        self._work.cleanup()
        self.close()
