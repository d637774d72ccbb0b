"""TorchScript files are programs: what they call is looked at before any of it runs.

A TorchScript file holds the source of its network, and loading it already runs some of it. Torch's operators can write files. Here
the source is parsed, never run: only operators of Torch that compute are let through, and `torch` and `ops` may only be used by name,
so that no other name can stand for them. That is a fence, no proof: take models from people you trust.
"""

from __future__ import annotations

import ast
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN

_MODULES = frozenset({"torch", "ops"})
_WRITES = frozenset({"save", "from_file", "load", "_load", "rpc_async", "rpc_sync", "rpc_remote"})
_NAMESPACES = frozenset({"aten", "prim", "quantized", "torchvision", "_caffe2"})
_LARGEST = 64 << 20


def require_harmless(path: Path) -> None:
    """Check that a TorchScript file calls nothing but operators that compute.

    Raises:
        ModelError: It calls an operator that reads or writes files or talks to others, hides what it calls, or is no TorchScript file.
    """
    for name, source in _sources(path):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError) as error:
            message = f"{path}: {name} cannot be checked for what it calls ({error})."
            raise ModelError(message, "Ask for the model's weights, or for an ONNX file.") from error
        found = next(_forbidden(tree), None)
        if found is not None:
            message = f"{path}: is refused, its code {found} ({name}), which a network has no need of. Nothing of it was run."
            raise ModelError(message, "Do not use this file; ask its author, or take an ONNX file.")


def _sources(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                name = item.filename.lower()  # Torch finds entries whatever the case of their letters
                if "/code/" in name and name.endswith(".py"):
                    if item.file_size > _LARGEST:
                        message = f"{path}: {item.filename} is {item.file_size} bytes of code."
                        raise ModelError(message, COPY_AGAIN)
                    yield item.filename, archive.read(item).decode("utf-8")
    except (zipfile.BadZipFile, OSError, EOFError, UnicodeDecodeError, RuntimeError, NotImplementedError, zlib.error) as error:
        # Torch might open what Python's reader cannot, so nothing is left to it that was not looked at.
        message = f"{path}: is not a network that Torch can load ({error or type(error).__name__})."
        raise ModelError(message, f"{COPY_AGAIN} It must be a TorchScript file.") from error


def _forbidden(tree: ast.AST) -> Iterator[str]:
    """Yield what the code of a file does that it must not."""
    bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _MODULES and id(node) not in bases:
            yield f"passes on the module {node.id!r}"
        if isinstance(node, ast.Attribute):
            yield from _forbidden_attribute(node)


def _forbidden_attribute(node: ast.Attribute) -> Iterator[str]:
    base = node.value
    if isinstance(base, ast.Name) and base.id == "torch" and node.attr in _WRITES:
        yield f"calls torch.{node.attr}"
    if isinstance(base, ast.Name) and base.id == "ops" and node.attr not in _NAMESPACES:
        yield f"calls operators of {node.attr!r}"
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "ops" and node.attr in _WRITES:
        yield f"calls ops.{base.attr}.{node.attr}"
