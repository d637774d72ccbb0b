"""The errors this software raises on purpose: each says what is wrong and what to do next."""

from __future__ import annotations


class AtlasError(Exception):
    """A failure with a message for the user and the next step.

    Args:
        message: What is wrong, with the offending value and the file it came from.
        remedy: What to do next, as one sentence; may be empty when there is nothing to do.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return message and remedy on one line."""
        lines = f"{self.message} {self.remedy}".strip().splitlines()
        return " ".join(line.strip() for line in lines)  # two spaces inside a line may be part of a file name

    def __reduce__(self) -> tuple[type[AtlasError], tuple[str, str]]:
        """Pickle both parts, so that the error crosses process boundaries whole."""
        return (type(self), (self.message, self.remedy))


class InputError(AtlasError):
    """A file or argument cannot be used as it is."""


class GeometryError(AtlasError):
    """Two volumes that must share a grid do not, or a geometry makes no sense."""


class LabelError(AtlasError):
    """A label value or structure name is not in the table that applies."""


class ModelError(AtlasError):
    """A model cannot be loaded or run."""


class DatasetError(AtlasError):
    """A dataset or case folder cannot be used as it is."""


class StorageError(AtlasError):
    """A file could not be written (disk full, no permission)."""
