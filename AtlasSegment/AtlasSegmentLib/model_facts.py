"""What the list of models shows about a model, and what all kinds of model share when their files are looked at."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import structure_for

Kind = Literal["atlas", "torchscript", "universal", "nnunet", "monai", "autoorgan", "unknown"]
Need = Literal["onnx", "torch", "manifest", "nnunet", "safetensors", "monai", "yaml"]
"""What must be installed to run a model: "torch" itself, or a group of packages in Resources/requirements.txt."""

KIND_TITLES: dict[Kind, str] = {
    "atlas": "Atlas model folder (ONNX)",
    "torchscript": "TorchScript file with model.json",
    "universal": "AbdomenAtlas universal model",
    "nnunet": "nnU-Net v2 model folder",
    "monai": "MONAI bundle",
    "autoorgan": "nnU-Net as ONNX, with dataset.json and plans.json",
    "unknown": "not recognized",
}
COPY_AGAIN = "Copy the model again from its source."

_LICENSES = (
    (r"\bapache\b", "Apache-2.0"),
    (r"cc[- ]?by[- ]nc[- ]sa|noncommercial-sharealike", "CC-BY-NC-SA"),
    (r"cc[- ]?by[- ]nc|attribution-noncommercial", "CC-BY-NC"),
    (r"cc[- ]?by[- ]sa|attribution-sharealike", "CC-BY-SA"),
    (r"cc[- ]?by|creative commons attribution", "CC-BY"),
    (r"cc0|public domain", "CC0"),
    (r"\bmit\b", "MIT"),
    (r"\bbsd\b", "BSD"),
    (r"\ba?gpl|gnu [a-z ]*general public", "GPL"),
)
_SIDE = re.compile(r"(^|[\s_-])(left|right|l|r)($|[\s_-])", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs"
_LONGEST_LICENSE_LINE = 120


@dataclass(frozen=True)
class ModelFacts:
    """One row of the list of models.

    Attributes:
        path: The model's folder as it is kept in the list.
        kind: What it is.
        name: Its name; that of the folder when nothing better is known.
        title: One line about it, or "".
        organs: Its structures, as it names them.
        license: As it says, or "".
        size: Bytes of the files that make the model.
        needs_roi: Whether it wants a region of interest.
        needs: What must be installed to run it.
        caution: What to know before its result is trusted, or "".
        problem: Why it cannot be used; "" when it can.
        remedy: The next step then.
    """

    path: Path
    kind: Kind
    name: str
    title: str = ""
    organs: tuple[str, ...] = ()
    license: str = ""
    size: int = 0
    needs_roi: bool = False
    needs: tuple[Need, ...] = ()
    caution: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether this version can run it."""
        return not self.problem

    @property
    def short_license(self) -> str:
        """The license in one word where it is a known one, such as "Apache-2.0"; "" when none is stated."""
        return short_license(self.license)

    def matches(self, query: str) -> bool:
        """Tell whether every word of a query is in the name, title, license, kind or an organ (by any of its names)."""
        organs = [name for organ in self.organs for name in (organ, structure_for(organ).name, *structure_for(organ).aliases)]
        text = " ".join(map(_plain, (self.name, self.title, self.license, KIND_TITLES[self.kind], *organs)))
        return all(_plain(word) in text for word in query.split())


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


def short_license(text: str) -> str:
    """Return a known license in one word, else the beginning of the text."""
    lower = text.casefold()
    found = next((name for pattern, name in _LICENSES if re.search(pattern, lower)), None)
    return found or text.strip()[:24]


def size_text(size: int) -> str:
    """Return a number of bytes for people, such as "3.5 MB"; "" for nothing."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} B" if size else ""


def size_of(paths: Iterable[Path]) -> int:
    """Return the bytes of the files that are there."""
    total = 0
    for path in set(paths):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # gone, or closed to us: whoever needs it says so
            continue
    return total


def read_object(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        ModelError: It is missing, cannot be read, or is no JSON object; the message says what it is instead.
    """
    try:
        start = path.read_bytes()[: len(_LFS_POINTER)]
        if start == _LFS_POINTER:
            message, remedy = _lfs(path)
            raise ModelError(message, remedy)
        content = read_json(path)
    except ModelError:
        raise
    except OSError as error:
        message = f"{path.name} cannot be read ({error.strerror or error})."
        raise ModelError(message, "Check the folder and its permissions.") from error
    except AtlasError as error:
        message = f"{path.name} is damaged: {error.message.partition(': ')[2] or error.message}"
        raise ModelError(message, COPY_AGAIN) from error
    if not isinstance(content, dict):
        message = f"{path.name} holds a {type(content).__name__}, expected an object with keys."
        raise ModelError(message, COPY_AGAIN)
    return content


def require_weights(path: Path, *, script: bool = False) -> None:
    """Check what can be seen of a weights file without its engine: it is there, whole, and no placeholder.

    Args:
        path: An .onnx, .pt, .ts, .pth or .safetensors file.
        script: It must be a TorchScript archive, not weights alone.

    Raises:
        ModelError: Otherwise.
    """
    if not path.is_file():
        message = f"{path.name} is missing."
        raise ModelError(message, COPY_AGAIN)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        message = f"{path.name} cannot be read ({error.strerror or error})."
        raise ModelError(message, "Check the folder and its permissions.") from error
    if start.startswith(_LFS_POINTER):
        message, remedy = _lfs(path)
        raise ModelError(message, remedy)
    if not start or start.lstrip()[:1] == b"<":
        what = "is empty" if not start else "is a web page, not a network: its download has failed"
        message = f"{path.name} {what}."
        raise ModelError(message, COPY_AGAIN)
    if path.suffix in {".pt", ".pth", ".ts"}:
        _require_torch_file(path, start, script)


def with_weights(facts: ModelFacts, paths: Iterable[Path], *, script: bool = False) -> ModelFacts:
    """Return the facts with what is wrong with the weights files, where something is; see `require_weights`."""

    def check() -> None:
        for path in paths:
            require_weights(path, script=script)

    return checked(facts, check)


def checked(facts: ModelFacts, check: Callable[[], object]) -> ModelFacts:
    """Return the facts, with the reason of the ModelError that a check raises as their problem."""
    try:
        check()
    except ModelError as error:
        return replace(facts, problem=error.message, remedy=error.remedy)
    return facts


def has_sides(organs: Iterable[str]) -> bool:
    """Tell whether one of the structures has a side, known to the catalog or not."""
    return any(structure_for(organ).partner is not None or _SIDE.search(organ) for organ in organs)


def _lfs(path: Path) -> tuple[str, str]:
    return f"{path.name} is a Git LFS placeholder: the file itself has not been downloaded.", "Run git lfs pull where it came from."


def _require_torch_file(path: Path, start: bytes, script: bool) -> None:
    if not zipfile.is_zipfile(path):
        if start[:1] == b"\x80" and not script:  # the format before PyTorch 1.6 is a bare pickle
            return
        message = f"{path.name} is damaged or is no PyTorch file."
        raise ModelError(message, COPY_AGAIN)
    with zipfile.ZipFile(path) as archive:
        parts = {part for name in archive.namelist() for part in name.split("/")[1:2]}
    if script and "code" not in parts:
        message = f"{path.name} holds weights alone, not a TorchScript network."
        raise ModelError(message, "Export it with torch.jit.script or torch.jit.trace.")


def license_in(folder: Path) -> str:
    """Return the first line of the folder's license file, or ""."""
    for candidate in sorted([*folder.glob("LICEN[SC]E*"), *folder.glob("docs/licen[sc]e*"), *folder.glob("licen[sc]e*")]):
        try:
            with candidate.open(encoding="utf-8", errors="replace") as file:
                lines = (line.strip() for line in file)
                return next((line[:_LONGEST_LICENSE_LINE] for line in lines if line), "")
        except OSError:
            continue
    return ""


def listing(folder: Path, count: int = 6) -> str:
    """Return what is in a folder, for messages: "a.txt, b/ and 3 more", or "nothing"."""
    try:
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"a folder that cannot be opened ({error.strerror or error})"
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return (", ".join(names[:count]) + more) or "nothing"
