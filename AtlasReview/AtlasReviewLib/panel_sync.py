"""Keeps the panel's list as the worklist is, in a background thread: a slow or dead server holds up nobody.

One call at a time reads what changed and gives a sign of life for the open task; a timer brings the result to the main thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import qt
from slicer.i18n import tr as _

from AtlasReviewLib.background import Work
from AtlasReviewLib.double_reading import settle
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_index import WorklistIndex
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable
from AtlasSegmentLib.panel_threads import letThreadsRun

_log = logging.getLogger(__name__)
_POLL_MILLISECONDS = 25
_SLOW_SECONDS = 4.0
_END_SECONDS = 1.0
_MOST_AT_ONCE = 20_000


@dataclass(frozen=True)
class News:
    """What a look at the worklist found.

    Attributes:
        newest: Number of the newest event.
        changed: Tasks that changed.
        index: All tasks, where it was not enough to read those that changed.
        asked, held: A task for which a sign of life was given, as it was before and as the list has it now; or None.
        after: Number of the event after which it was looked; -1 for all.
    """

    newest: int
    changed: tuple[Task, ...] = ()
    index: WorklistIndex | None = None
    asked: Task | None = None
    held: Task | None = None
    after: int = -1


def look(worklist: Worklist, after: int, beat: tuple[Task, str] | None = None, compare: bool = False) -> News:
    """Read what changed after an event; -1 reads all.

    Args:
        worklist: The list.
        after: Number of the event.
        beat: A task and its reader: give a sign of life for it first.
        compare: Compare readings of tasks that two readers have done by now; that reads masks.

    Raises:
        AtlasError: The worklist cannot be read or written.
    """
    held = worklist.heartbeat(*beat) if beat is not None else None
    if compare:
        settle(worklist)
    news = _changes(worklist, after)
    if news is None:
        newest = worklist.last_event()  # first: what comes meanwhile is read again
        news = News(newest, index=WorklistIndex(worklist.tasks()), after=after)
    return replace(news, asked=beat[0] if beat is not None else None, held=held)


def _changes(worklist: Worklist, after: int) -> News | None:
    """Return the tasks that changed; None when all have to be read."""
    newest, changed = (0, None) if after < 0 else worklist.changes(after)
    if changed is None or newest < after:  # a database that was restored from a backup has forgotten some events
        return None
    return News(newest, tuple(changed), after=after)


class WorklistSync:
    """Reads the worklist again and again.

    Args:
        context: The open dataset.
        onNews: Called on the main thread with what was found.
        onTrouble: Called on the main thread with what is wrong with the worklist, "" when it answers again.
    """

    def __init__(self, context: ReviewContext, onNews: Callable[[News], None], onTrouble: Callable[[str], None]) -> None:
        self._context, self._onNews, self._onTrouble = context, onNews, onTrouble
        self._seen = -1
        self._work: Work[News] | None = None
        self._of: Worklist | None = None
        self._began = 0.0
        self._since: datetime | None = None
        self._again = self._stale = self._due = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        """Whether the worklist is being read."""
        return self._work is not None

    def begin(self, news: News) -> None:
        """Go on from what was read when the dataset was opened."""
        self.stop()
        self._take(news)

    def ask(self, session: TaskSession | None = None) -> None:
        """Look in the background, soon; again when a look is under way already.

        Args:
            session: Give a sign of life for its task too.
        """
        worklist = self._context.worklist
        if worklist is None or (worklist.read_only and not worklist.store.place.url):  # a copy in memory never changes
            return
        if self._work is not None:
            self._again = True
            return
        after, compare = -1 if self._stale else self._seen, self._due
        task = session.task if session is not None and session.editable else None
        beat = (task, session.reader) if session is not None and task is not None else None
        self._of, self._began, self._again = worklist, time.monotonic(), False
        self._work, self._due = Work(lambda _work: look(worklist, after, beat, compare)), False
        self._timer.start()

    def now(self) -> None:
        """Look at once, after something that the reader did; a list that moved as a whole is read in the background.

        What is wrong is told as from the background.
        """
        worklist = self._context.worklist
        if worklist is None:
            return
        if self._context.rules.policy.double_share and len(self._context.index) > _MOST_AT_ONCE:
            self.ask()  # to find what a reader must not see takes a look at all pairs of readings
            return
        try:
            news = _changes(worklist, self._seen)
        except AtlasError as error:
            self._failed(error)
            return
        if news is None:
            self.readAgain()
        else:
            self._take(news)

    def readAgain(self) -> None:
        """Read all tasks in the background."""
        self._stale = True
        self.ask()

    def compare(self) -> None:
        """Compare readings of tasks that two readers have done by now, in the background."""
        self._due = self._context.rules.policy.double_share > 0
        if self._due:
            self.ask()

    def stop(self) -> None:
        """Forget the worklist; a look that is under way is told to nobody."""
        self._timer.stop()
        self._work = self._of = None
        self._seen, self._again, self._stale, self._due = -1, False, False, False
        self._answered()

    def cleanup(self) -> None:
        """Stop, wait a moment for the thread, and let go of the timer."""
        work = self._work
        self.stop()
        if work is not None:
            work.join(_END_SECONDS)
        self._timer.disconnect("timeout()", self._poll)

    def _poll(self) -> None:
        letThreadsRun()
        work, worklist = self._work, self._of
        if work is None or worklist is None:
            self._timer.stop()
            return
        if not work.done:
            if time.monotonic() - self._began > _SLOW_SECONDS:
                self._trouble(_("it has not answered for {seconds} s").format(seconds=round(time.monotonic() - self._began)))
            return
        self._timer.stop()
        self._work = self._of = None
        if worklist is not self._context.worklist:
            return
        try:
            news = work.result()
        except AtlasError as error:
            self._failed(error)
            return
        self._take(news)
        if self._again:
            self.ask()

    def _take(self, news: News) -> None:
        self._answered()
        if news.newest < self._seen != news.after:  # the reader did something meanwhile, and that was read after this
            self._again = self._again or news.index is not None
            news = News(self._seen, asked=news.asked, held=news.held)
        self._seen = news.newest
        self._stale = self._stale and news.index is None
        self._onNews(news)

    def _failed(self, error: AtlasError) -> None:
        _log.warning("the worklist could not be read: %s", error)
        self._trouble(error.message)

    def _trouble(self, cause: str) -> None:
        self._since = self._since or datetime.now().astimezone()
        text = _("The worklist cannot be reached since {time}: {cause} Go on editing, your edits are kept on the disk; it is tried again.")
        self._onTrouble(displayable(text.format(time=self._since.strftime("%H:%M:%S"), cause=cause.rstrip(".") + ".")))

    def _answered(self) -> None:
        if self._since is not None:
            self._since = None
            self._onTrouble("")
