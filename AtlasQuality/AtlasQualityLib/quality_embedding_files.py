"""Files of text embeddings: a safe .npz, and SegAE's pickle rewritten as one without running what a pickle may hold."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.quality_embedding import FEATURES, EmbeddingTable, Float32
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.labels import load_table

NAMES, VECTORS = "names", "vectors"
_LARGEST = 1 << 28


def read_embeddings(path: Path) -> EmbeddingTable:
    """Read embeddings from an .npz: arrays "names" (n,) of text and "vectors" (n, 512), or one array (512,) for each name.

    Raises:
        InputError: It is not there, damaged, or not of this form.
    """
    _require_file(path)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # by name it would stay open when it is cut
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        message = f"{path}: is no file of embeddings ({error})."
        raise InputError(message, "Give an .npz; a .pkl is rewritten by: atlas quality convert-embeddings FILE.pkl.") from error
    if set(arrays) == {NAMES, VECTORS} and arrays[NAMES].ndim == 1 and arrays[NAMES].dtype.kind == "U" and arrays[VECTORS].ndim == 2:
        if len(arrays[NAMES]) != len(arrays[VECTORS]):
            message = f"{path}: has {len(arrays[NAMES])} names and {len(arrays[VECTORS])} vectors."
            raise InputError(message, "Write as many vectors as names.")
        arrays = {str(name): vector for name, vector in zip(arrays[NAMES], arrays[VECTORS], strict=True)}
    return EmbeddingTable(str(path), _checked(path, arrays))


def write_embeddings(path: Path, table: EmbeddingTable) -> None:
    """Write embeddings as `read_embeddings` reads them; the file appears whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, names=np.array(list(table.vectors)), vectors=np.stack(list(table.vectors.values())))


def convert_pickle(path: Path) -> EmbeddingTable:
    """Read SegAE's label_embedding.pkl, {class id: tensor (512,) or (1, 512)}, and give its ids their names.

    Only tensors, arrays and plain containers are made from it; a file that asks for anything else is refused and nothing of it runs.
    Names as keys are taken as they are. Ids 0 and 1, which are no structures, are left out.

    Raises:
        InputError: It is not there, damaged, not of this form, or asks for more.
    """
    _require_file(path)
    if path.stat().st_size > _LARGEST:
        message = f"{path}: has {path.stat().st_size} bytes, which no table of embeddings has."
        raise InputError(message, "Give SegAE's label_embedding.pkl.")
    content = _unpickled(path)
    if not isinstance(content, Mapping):
        message = f"{path}: holds a {type(content).__name__}; a dictionary of class ids and vectors is expected."
        raise InputError(message, "Give SegAE's label_embedding.pkl.")
    names = load_table("segae").labels
    known = {
        names[key] if isinstance(key, int) else str(key): value for key, value in content.items() if key in names or isinstance(key, str)
    }
    return EmbeddingTable(str(path), _checked(path, {name: np.asarray(value) for name, value in known.items()}))


def _require_file(path: Path) -> None:
    if not path.is_file():
        message = f"{path}: there is no such file."
        raise InputError(message, "Give the path of a file of embeddings.")


def _checked(path: Path, arrays: Mapping[str, Any]) -> dict[str, Float32]:
    result: dict[str, Float32] = {}
    for name, array in arrays.items():
        vector = np.squeeze(np.asarray(array))
        if vector.shape != (FEATURES,) or vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
            message = (
                f"{path}: the embedding of {name!r} is {vector.dtype} of shape {np.shape(array)}; {FEATURES} finite numbers are needed."
            )
            raise InputError(message, "Write the embeddings again.")
        result[name] = vector.astype(np.float32)
    if not result:
        message = f"{path}: holds no embedding of a known class."
        raise InputError(message, "Give a file with at least one name and its 512 numbers.")
    return result


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not on the list."""


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except _Refused as error:
        message = f"{path}: asks for {error}, which tables of embeddings do not need; it was not run."
        raise InputError(message, "Do not open files like this one with other programs; ask its author for an .npz.") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OSError,
        RuntimeError,
        ImportError,
    ) as error:
        message = f"{path}: is no pickle of embeddings ({error})."
        raise InputError(message, "Give SegAE's label_embedding.pkl, whole.") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few things that tensors and arrays are made of."""
        allowed = _allowed()
        if (module, name) not in allowed:
            wanted = f"{module}.{name}"
            raise _Refused(wanted)
        return allowed[module, name]()


def _allowed() -> dict[tuple[str, str], Callable[[], Any]]:
    """Return what a pickled tensor or array needs, each found when it is asked for, so that arrays need no Torch."""
    return {
        ("collections", "OrderedDict"): lambda: OrderedDict,
        ("_codecs", "encode"): lambda: _latin1,
        ("torch._utils", "_rebuild_tensor_v2"): lambda: _torch_utils()._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): lambda: _storage_from,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): lambda: np.ndarray,
        ("numpy", "dtype"): lambda: np.dtype,
    }


def _latin1(text: str, encoding: str) -> bytes:
    """Return bytes that an old protocol keeps as text."""
    if encoding != "latin1":
        message = f"bytes as {encoding!r}"
        raise _Refused(message)
    return text.encode("latin1")


def _reconstruct() -> Any:
    return np.array(0).__reduce__()[0]


def _torch_utils() -> Any:
    import torch

    return torch._utils


def _storage_from(data: bytes) -> Any:
    """Read the storage inside a pickled tensor with Torch's restricted reader (by itself, Torch would read it with the open one)."""
    import torch

    return torch.load(io.BytesIO(data), weights_only=True)
