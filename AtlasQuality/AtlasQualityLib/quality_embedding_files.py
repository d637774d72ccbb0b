"""Files of text embeddings: a safe .npz, and SegAE's pickle rewritten as one without running what a pickle may hold."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.quality_embedding import FEATURES, EmbeddingTable, Float32
from AtlasQualityLib.quality_embedding_pickle import read_pickle
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.volume import Array

NAMES, VECTORS = "names", "vectors"
_LARGEST = 1 << 28
_DAMAGED = (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, MemoryError, TypeError)
"""What reading a damaged, encrypted or foreign archive raises."""


def read_embeddings(path: Path) -> EmbeddingTable:
    """Read embeddings from an .npz: arrays "names" (n,) of text and "vectors" (n, 512), or one array (512,) for each name.

    Raises:
        InputError: It is not there, damaged, or not of this form.
    """
    _require_file(path)
    try:
        with path.open("rb") as opened:  # by name it would stay open when it is cut
            _require_small(path, sum(part.file_size for part in zipfile.ZipFile(opened).infolist()))
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
    except _DAMAGED as error:
        message = f"{path}: is no file of embeddings ({error or type(error).__name__})."
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
    _require_small(path, path.stat().st_size)
    content = read_pickle(path)
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


def _require_small(path: Path, size: int) -> None:
    if size > _LARGEST:
        message = f"{path}: has {size} bytes, which no table of embeddings has."
        raise InputError(message, "Give a file of one vector of 512 numbers for each name.")


def _checked(path: Path, arrays: Mapping[str, Any]) -> dict[str, Float32]:
    result: dict[str, Float32] = {}
    for name, array in arrays.items():
        vector = np.squeeze(np.asarray(array))
        numbers = _numbers(vector)
        if numbers is None or not numbers.any():
            what = "has no number but 0" if numbers is not None else f"is {vector.dtype} of shape {np.shape(array)}"
            message = f"{path}: the embedding of {name!r} {what}; {FEATURES} finite numbers are needed."
            raise InputError(message, "Write the embeddings again.")
        result[name] = numbers
    if not result:
        message = f"{path}: holds no embedding of a known class."
        raise InputError(message, "Give a file with at least one name and its 512 numbers.")
    return result


def _numbers(vector: Array) -> Float32 | None:
    """Return 512 finite numbers as float32, None where they are not."""
    if vector.shape != (FEATURES,) or vector.dtype.kind not in "fiu":
        return None
    with np.errstate(over="ignore"):
        numbers = vector.astype(np.float32)
    return numbers if np.isfinite(numbers).all() else None
