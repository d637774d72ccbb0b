"""Carry a worklist from its file to a server, with all states and the whole history."""

from __future__ import annotations

from pathlib import Path

from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import FILE, WorklistPlace, place_of
from AtlasReviewLib.worklist_rows import PROGRAM
from AtlasReviewLib.worklist_store import NAME
from AtlasSegmentLib.errors import InputError

_NOT_COPIED = ("id", "dataset")


def copy_to_server(folder: Path, url: str) -> tuple[int, int]:
    """Copy the tasks and events of `worklist.sqlite` to a database, whose owner alone may say when past events were.

    Args:
        folder: The dataset folder; nothing in it is changed.
        url: Address of the database; must have the tables of a worklist, and nothing of this dataset.

    Returns:
        Number of tasks, number of events.

    Raises:
        InputError: There is no file, or the database knows this dataset already.
        StorageError: The server cannot be reached, or does not allow it.
        DatasetError: There is no worklist in the database.
    """
    if not WorklistPlace(folder).exists:
        message = f"{folder}: there is no {NAME}."
        raise InputError(message, f"Run: atlas worklist build {folder}, with the address of the server.")
    source = Worklist(folder, read_only=True, place=WorklistPlace(folder))
    target = Worklist(folder, place=place_of(folder, url))
    try:
        with source.store.reading() as db:
            tasks = [{name: value for name, value in row.items() if name not in _NOT_COPIED} for row in db.rows()]
            events = [{name: value for name, value in row.items() if name not in _NOT_COPIED} for row in db.event_rows()]
        with target.store.writing() as db:
            db.alone()
            if db.rows() or db.last_event():
                message = f"{target.store.place.shown}: knows the dataset {target.store.place.dataset!r} already."
                raise InputError(message, f'Give this one another name: {{"dataset": "..."}} in {folder / FILE}.')
            db.add_many(tasks)
            db.restore_events(events)
            db.append(PROGRAM, "", "", "copy", comment=f"{len(tasks)} tasks and {len(events)} events of {NAME}")
        return len(tasks), len(events)
    finally:
        source.close()
        target.close()
