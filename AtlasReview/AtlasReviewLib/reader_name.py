"""Names of readers: "dr. ada", "Dr.  Ada" and full-width letters are spellings of one name, and of one reader."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.names import safe_name

RESERVED = {"atlas": "in a history it is this program", "unknown": "among revisions it is whoever used another program"}
"""Names in lower case that no reader can have, and why: what this program writes is shown to everybody, also of blind readings."""


def spelled(name: str) -> str:
    """Return a name in compatible letters (NFKC) with single spaces, as lists store it; capitals and line breaks stay."""
    return re.sub(" +", " ", unicodedata.normalize("NFKC", name)).strip()


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """Return what all spellings of a name have in common."""
    return unicodedata.normalize("NFKC", spelled(name).casefold())


def checked_reader(reader: str) -> str:
    """Return a reader's name in the form in which names are stored.

    Raises:
        DatasetError: It cannot be part of a file name, or histories give it to nobody in person.
    """
    name = safe_name(spelled(reader), "reader name")
    if key_of(name) in RESERVED:
        message = f"reader name {name!r} is taken: {RESERVED[key_of(name)]}."
        raise DatasetError(message, "Use your own name.")
    return name
