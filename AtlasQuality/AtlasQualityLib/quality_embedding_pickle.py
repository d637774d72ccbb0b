"""SegAE's pickle of text embeddings, read without running anything of it.

Only the names on a list are found, and what stands for each is an inert class of ours: not even NumPy's or Torch's own constructors are
called with what the file says, since an array of objects, say, may be made of any bytes and then be looked into.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

_DTYPE = re.compile(r"[<>|=]?[fiu][1248]")
_ORDERS = frozenset("<>|=")
_TOO_LARGE = (MemoryError, OverflowError, RuntimeError, ImportError)


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds: containers, text, numbers and NumPy arrays of numbers.

    Raises:
        InputError: It is damaged, or asks for anything else; then nothing of it was run.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file).load())
    except _RefusedError as error:
        message = f"{path}: asks for {error}, which tables of embeddings do not need; it was not run."
        raise InputError(message, "Do not open files like this one with other programs; ask its author for an .npz.") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OSError, *_TOO_LARGE) as error:
        message = f"{path}: is no pickle of embeddings ({error or type(error).__name__})."
        raise InputError(message, "Give SegAE's label_embedding.pkl, whole.") from error


class _RefusedError(pickle.UnpicklingError):
    """The pickle asks for something that is not on the list."""


class _Inert:
    """Something that a pickle made: it holds an array, or nothing yet, and takes no state that it does not know."""

    __slots__ = ("array",)

    def __init__(self, array: Array | None = None) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        message = f"a state for a {type(self).__name__.strip('_').lower()}"
        raise _RefusedError(message)


class _DType(_Inert):
    """Stands for numpy.dtype: numbers only."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            message = f"an array of {name!r}"
            raise _RefusedError(message)
        self.name, self.order = name.lstrip("<>|="), ""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 3 or state[1] not in _ORDERS or any(part is not None for part in state[2:5]):
            message = "an array with a state of its own"
            raise _RefusedError(message)
        self.order = state[1].replace("|", "")


class _NumPyArray(_Inert):
    """Stands for an array that numpy's _reconstruct gives; its bytes come as its state."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, in_columns, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            message = "an array of no numbers"
            raise _RefusedError(message)
        values = np.frombuffer(data, dtype.order + dtype.name)
        self.array = values.reshape(tuple(int(n) for n in shape), order="F" if in_columns else "C")


class _Class:
    """Stands for numpy.ndarray, which pickles name and never call."""

    __slots__ = ()


def _reconstruct(*_: Any) -> _NumPyArray:
    return _NumPyArray()


def _latin1(text: Any, encoding: Any) -> bytes:
    """Return bytes that an old protocol keeps as text."""
    if encoding != "latin1" or not isinstance(text, str):
        message = f"bytes as {encoding!r}"
        raise _RefusedError(message)
    return text.encode("latin1")


def _storage(data: Any) -> _Inert:
    """Read the storage inside a pickled tensor with Torch's restricted reader (by itself, Torch would read it with the open one)."""
    import torch

    loaded = torch.load(io.BytesIO(bytes(data)), weights_only=True)
    return _Inert(torch.tensor([], dtype=loaded.dtype).set_(loaded).numpy().copy())


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Inert:
    """Return a tensor that lies in its storage without gaps."""
    shape, start = tuple(int(n) for n in size), int(offset)
    steps = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    has_gaps = any(int(step) != whole for step, whole, length in zip(stride, steps, shape, strict=True) if length > 1)
    if not isinstance(storage, _Inert) or storage.array is None or has_gaps:
        message = "a tensor without its numbers, or with gaps"
        raise _RefusedError(message)
    values = storage.array[start : start + int(np.prod(shape))] if start >= 0 else storage.array[:0]
    return _Inert(values.reshape(shape))


_ALLOWED: dict[tuple[str, str], Callable[..., Any] | _Class] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Class(),
    ("numpy", "dtype"): _DType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for one of the few things that tensors and arrays are made of."""
        if (module, name) not in _ALLOWED:
            wanted = f"{module}.{name}"
            raise _RefusedError(wanted)
        return _ALLOWED[module, name]


def _plain(content: Any) -> Any:
    """Return a dictionary with arrays in place of what stands for them."""
    if isinstance(content, dict):
        return {key: value.array if isinstance(value, _Inert) else value for key, value in content.items()}
    return content
