"""Levels of readers: a senior's decision about an organ counts, also where a junior saved a newer revision.

`readers.json` in the dataset folder maps names to levels: {"Dr. Ada": "senior", "Ben": "junior"}. A level is a whole number, the
higher one wins, or "junior" (1) or "senior" (2). Who is not in the file has level 0. Without the file the newest revision counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from AtlasReviewLib.reader_name import key_of, spelled
from AtlasReviewLib.revision_files import ENDING
from AtlasReviewLib.revision_log import RECOVER, read_log
from AtlasReviewLib.revisions import LOG_NAME, Revision, history
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, sha256_of

READERS_FILE = "readers.json"
LEVEL_NAMES = {"junior": 1, "senior": 2}
MOST = 1000
"""The highest level: databases hold no number of any size."""


@dataclass(frozen=True)
class Decision:
    """Which mask of an organ counts among what readers did.

    Attributes:
        revision: The revision, or None for the prediction.
        file: Its file; None for the prediction.
        overruled: The newest revision when it is another one, or None.
        levels: Level of every reader who touched the organ; empty without readers.json.
    """

    revision: Revision | None
    file: Path | None
    overruled: Revision | None
    levels: Mapping[str, int]


def read_levels(folder: Path) -> dict[str, int] | None:
    """Return reader to level of a dataset folder, or None where there is no readers.json.

    Raises:
        InputError: It is not a mapping of names to levels, or names one reader twice.
    """
    path = Path(folder) / READERS_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        message = f"{path}: expected names and levels, got {type(content).__name__}."
        raise InputError(message, 'Write it as {"Dr. Ada": "senior", "Ben": "junior"}.')
    found: dict[str, int] = {}
    for name, value in content.items():
        if any(key_of(name) == key_of(other) for other in found):
            message = f"{path}: {name!r} is there twice, in another spelling."
            raise InputError(message, "Keep one of them.")
        found[spelled(name)] = _level(value, name, path)
    return found


def level_of(levels: Mapping[str, int], reader: str) -> int:
    """Return the level of a reader, however the name is spelled; 0 for one who has none."""
    return next((level for name, level in levels.items() if key_of(name) == key_of(reader)), 0)


def _level(value: object, name: str, path: Path) -> int:
    level = LEVEL_NAMES.get(value) if isinstance(value, str) else value
    if isinstance(level, int) and not isinstance(level, bool) and 0 <= level <= MOST:
        return level
    message = f"{path}: {value!r} is not a level (of {name!r})."
    raise InputError(message, f"Use a whole number from 0 to {MOST}, or {' or '.join(LEVEL_NAMES)}.")


def decide(case: CaseFolder, organ: str, levels: Mapping[str, int] | None, final: str | None = None, sha256: str = "") -> Decision:
    """Return which mask of an organ counts: what the readers of the highest level did last (save, import or roll back).

    Args:
        case: The case.
        organ: By the name of its files.
        levels: As `read_levels` gives them; None: what happened last counts.
        final: Id of the revision that was decided on and counts whatever the levels are, "" for the prediction; None without one.
        sha256: Of that revision as it was decided on, or "".

    Raises:
        InputError: The revision that counts is not the file that was saved.
    """
    revisions = history(case, organ)
    current = next((revision for revision in revisions if revision.is_current), None)
    revised = case.average.revised_mask(organ)
    newest = Decision(current, revised if current is not None else None, None, {})
    if final is not None:
        return _final(case, organ, (final, sha256), revisions, newest)
    if levels is None or not revisions:
        return newest
    log = [entry for entry in read_log(case.average.revisions(organ) / LOG_NAME) if entry.action != RECOVER]
    events = [(entry.reader, entry.file.removesuffix(ENDING)) for entry in log]
    known = {file for _, file in events}
    if current is not None and current.id not in known:  # what another program put in place is the last event
        events.append((current.reader, current.id))
    if not events:
        return newest
    found = {reader: level_of(levels, reader) for reader, _ in events}
    top = max(found.values())
    wanted = next(file for reader, file in reversed(events) if found[reader] == top)
    if wanted == (current.id if current is not None else ""):
        return Decision(current, newest.file, None, found)
    chosen = next((revision for revision in revisions if revision.id == wanted), None) if wanted else None
    if wanted and chosen is None:
        raise _gone(case, organ, wanted, "by its reader's level")
    return Decision(chosen, _checked(chosen), current, found)


def _final(case: CaseFolder, organ: str, noted: tuple[str, str], revisions: list[Revision], newest: Decision) -> Decision:
    final, sha256 = noted
    chosen = next((revision for revision in revisions if final and revision.id == final), None)
    if final and chosen is None:
        raise _gone(case, organ, final, "as readers decided on it")
    if chosen is not None and sha256 and chosen.sha256 != sha256:
        message = f"{chosen.file}: its bytes are not those that were decided on (sha256 {sha256[:12]} in the worklist)."
        raise InputError(message, "Restore the file from a backup.")
    if chosen == newest.revision:
        return newest
    return Decision(chosen, _checked(chosen), newest.revision, {})


def _gone(case: CaseFolder, organ: str, revision: str, why: str) -> InputError:
    message = f"{case.average.revisions(organ)}: the revision {revision!r} counts {why}, but its file is gone."
    return InputError(message, "Restore the file from a backup.")


def _checked(revision: Revision | None) -> Path | None:
    if revision is None:
        return None
    if sha256_of(revision.file) != revision.sha256:
        message = f"{revision.file}: its bytes are not those that were saved (sha256 {revision.sha256[:12]} in the log)."
        raise InputError(message, "Restore the file from a backup.")
    return revision.file
