"""Checkpoints of nnU-Net and other Torch networks, read without running anything that is in them.

A .pth file is a pickle, a program in disguise. It is run only by PyTorch's restricted reader, which knows tensors, plain
values and the few NumPy types that nnU-Net's own checkpoints hold; whatever else it asks for, the file is refused. A
.safetensors file cannot hold a program.
"""

from __future__ import annotations

import json
import struct
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_facts import COPY_AGAIN, require_weights
from AtlasSegmentLib.nnunet_fields import is_whole
from AtlasSegmentLib.pickle_globals import globals_of

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = ".safetensors"
METADATA = "atlas"
_HEADER = 100_000_000  # bytes; safetensors' own limit
"""Key of a .safetensors file's metadata under which `trainer`, `configuration` and `mirror_axes` are kept as JSON."""

_PREFIXES = ("module.", "_orig_mod.")
_WEIGHTS = ("network_weights", "state_dict", "model_state_dict", "model", "net")
_SHOWN = 6
_EXTRA = "pip install 'slicer-atlas-annotator[torch]'"
_RESAVE = (
    "If you trust its source, load it in an environment of your own with torch and save "
    "{'network_weights': ..., 'trainer_name': ..., 'init_args': {'configuration': ...}} again with torch.save."
)
_ODD_CONTENT = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
    *(RecursionError, RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile),
)
"""What the readers of archives and pickles raise when the bytes make no sense."""

_READING = threading.Lock()
"""Torch's allow-list and Python's warning filters are those of the whole process: one file at a time."""


@dataclass(frozen=True)
class Checkpoint:
    """What of a checkpoint is needed to run its network.

    Attributes:
        path: The file.
        weights: Name to tensor on the CPU, without the prefixes of parallel and compiled networks. Tensors of a .pth file may be
            parts of the mapped file: copy them (`load_weights` does) and let go of the checkpoint.
        trainer: Such as "nnUNetTrainerNoMirroring"; "" when it is not said.
        configuration: Such as "3d_fullres"; "" when it is not said.
        mirror_axes: Axes (0, 1, 2: of the network's input) along which the network may be shown mirrored images; None for none.
        sha256: Of the file.
    """

    path: Path
    weights: dict[str, Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...] | None
    sha256: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint (.pth of torch.save, or .safetensors).

    Raises:
        ModelError: It is missing, cut short, asks for more than tensors and plain values (nothing of it was run), holds values that
            are not finite, or torch or safetensors is not installed.
    """
    path = Path(path)
    _require_file(path)
    content, weights = read_safetensors(path) if path.suffix == SAFETENSORS else _read_pickle(path)
    return parse_checkpoint(path, content, weights, _sha256(path))


def converted_from(path: Path) -> str:
    """Return the SHA-256 of the checkpoint that a .safetensors file was converted from, or "" when it does not say."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size < _HEADER else {}
        return str(json.loads(header["__metadata__"][METADATA])["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def parse_checkpoint(path: Path, content: Mapping[str, Any], weights: Mapping[str, Tensor], sha256: str) -> Checkpoint:
    """Check the parts of a checkpoint that has been read.

    Args:
        path: The file, for messages.
        content: What it holds beside weights, under the names that nnU-Net's trainer uses.
        weights: Name to tensor.
        sha256: Of the file.

    Raises:
        ModelError: As in `load_checkpoint`.
    """
    plain = {_plain_name(name): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        message = f"{path}: holds some weights twice, with and without the prefix of a wrapper."
        raise ModelError(message, COPY_AGAIN)
    weights = plain
    _require_sound(path, weights)
    arguments = content.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    return Checkpoint(
        path=path,
        weights=weights,
        trainer=_text(path, "trainer_name", content.get("trainer_name")),
        configuration=_text(path, "configuration", configuration),
        mirror_axes=_mirror_axes(path, content.get("inference_allowed_mirroring_axes")),
        sha256=sha256,
    )


def _require_file(path: Path) -> None:
    try:
        require_weights(path)
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:  # names in the archive's list that are no text
        raise _damaged(path, error) from error


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except AtlasError as error:
        raise ModelError(error.message, error.remedy) from error


def _read_pickle(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    torch = _torch()
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _require_sound_archive(path)
    with _READING, _damage(path), warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
        warnings.simplefilter("ignore")  # of old forms of pickles and tensors: what matters of them is checked here
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    if not isinstance(content, dict):
        message = f"{path}: holds a {type(content).__name__}, expected a checkpoint with named weights."
        raise ModelError(message, COPY_AGAIN)
    weights = next((content[key] for key in _WEIGHTS if isinstance(content.get(key), dict)), None)
    if weights is None:
        weights, content = content, {}
    return content, _tensors(path, weights)


def _tensors(path: Path, weights: Mapping[Any, Any]) -> dict[str, Tensor]:
    torch = _torch()
    other = next((name for name, value in weights.items() if not isinstance(name, str) or not isinstance(value, torch.Tensor)), None)
    if other is not None or not weights:
        found = f"{other!r:.60} is a {type(weights[other]).__name__}" if weights else "there are none"
        message = f"{path}: holds no weights (name to tensor): {found}."
        raise ModelError(message, "Give a checkpoint of nnU-Net, or a file with its network_weights.")
    return dict(weights)


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a .safetensors file holds beside weights, under the names of nnU-Net's trainer, and its weights. Raises ModelError."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        message = f"{path}: needs the package safetensors, which is not installed."
        raise ModelError(message, f"Install it: {_EXTRA}") from error
    _torch()
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        said = json.loads(metadata.get(METADATA, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError, MemoryError) as error:
        raise _damaged(path, error) from error
    if not isinstance(said, dict):
        said = {}
    content = {
        "trainer_name": said.get("trainer"),
        "init_args": {"configuration": said.get("configuration")},
        "inference_allowed_mirroring_axes": said.get("mirror_axes"),
    }
    return content, _tensors(path, weights)


def _allowed() -> list[Any]:
    """Return what nnU-Net's checkpoints hold beyond tensors and plain values: NumPy's scalars (metrics in its log).

    Both names of the function are listed: NumPy 1 and 2 write different ones.
    """
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(name)) for name in ("bool", "int32", "int64", "float16", "float32", "float64")}
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), (np.dtype, "numpy.dtype"), *kinds]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what the restricted reader says of a bad file into a ModelError."""
    import pickle

    try:
        yield
    except pickle.UnpicklingError as error:
        wanted = globals_of(path, {name for _, name in _named(_allowed())})
        if not wanted:
            raise _damaged(path, error) from error
        shown = f"{', '.join(wanted[:_SHOWN])}{' ...' if len(wanted) > _SHOWN else ''}"
        message = f"{path}: refused, nothing of it was run: it asks for more than weights and plain values, namely {shown}."
        raise ModelError(message, _RESAVE) from error
    except _ODD_CONTENT as error:
        raise _damaged(path, error) from error


def _named(allowed: list[Any]) -> list[tuple[Any, str]]:
    return [entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__qualname__}") for entry in allowed]


def _damaged(path: Path, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return ModelError(f"{path}: is damaged or cut short ({reason}).", COPY_AGAIN)


def _require_sound_archive(path: Path) -> None:
    """Refuse an archive that torch.save cannot have written: names that lead elsewhere, packed entries, more than the file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    outside = next((entry.filename for entry in entries if _leads_outside(entry.filename)), None)
    if outside is not None:
        message = f"{path}: refused: the archive holds {outside!r:.100}, a name that leads out of it."
        raise ModelError(message, "Do not use this file; get the model from its source.")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        message = f"{path}: refused: the archive declares more than it holds, which torch.save never does."
        raise ModelError(message, COPY_AGAIN)


def _leads_outside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or not parts or parts[0] == "/" or ":" in parts[0]


def _require_sound(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Check that the weights are dense numbers, no larger than what is stored for them, and finite."""
    torch = _torch()
    seen = set()
    for name, tensor in weights.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized and not tensor.is_complex()
        if not plain:
            message = f"{path}: {name!r:.100} is no plain tensor ({tensor.layout}, {tensor.device}, {tensor.dtype})."
            raise ModelError(message, COPY_AGAIN)
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            message = f"{path}: {name!r:.100} claims {tuple(tensor.shape)} values, more than the file holds."
            raise ModelError(message, COPY_AGAIN)
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if place in seen:  # nnU-Net lists every parameter two or four times
            continue
        seen.add(place)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            message = f"{path}: {name!r:.100} holds values that are not finite (NaN or infinite)."
            raise ModelError(message, "Its training has failed; use another checkpoint.")


def _plain_name(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _text(path: Path, key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    message = f"{path}: {key} is {value!r:.60}, expected a text."
    raise ModelError(message, COPY_AGAIN)


def _mirror_axes(path: Path, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and all(is_whole(axis) and 0 <= axis <= 2 for axis in value) and len(set(value)) == len(value):
        return tuple(value) or None
    message = f"{path}: inference_allowed_mirroring_axes is {value!r:.60}, expected axes of 0 to 2."
    raise ModelError(message, COPY_AGAIN)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        message = "This model needs the package torch, which is not installed."
        raise ModelError(message, f"Install it: {_EXTRA}") from error
    return torch
