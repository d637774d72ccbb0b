"""A checkpoint rewritten as .safetensors: a file that cannot hold a program, is half as large or less, and loads faster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasSegmentLib.errors import ModelError, StorageError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.model_facts import listing
from AtlasSegmentLib.nnunet_folder import CHECKPOINTS
from AtlasSegmentLib.nnunet_network import single_names
from AtlasSegmentLib.torch_checkpoint import METADATA, SAFETENSORS, Checkpoint, load_checkpoint, parse_checkpoint, read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

_EXTRA = "pip install 'slicer-atlas-annotator[torch]'"


def convert_checkpoint(path: Path) -> Path:
    """Write a checkpoint's weights beside it with the ending .safetensors, check that they read back equal, and return the new file.

    Only the weights, the trainer's name, the configuration and the mirror axes are kept, and every parameter once. The original
    is read by the same restricted reader as always (a file that is refused there is refused here) and stays as it is.

    Args:
        path: A .pth file.

    Raises:
        ModelError: It cannot be loaded, or what was written is not equal to it; then nothing is left behind.
        StorageError: The new file cannot be written.
    """
    path = Path(path)
    if path.suffix == SAFETENSORS:
        message = f"{path}: is a .safetensors file already."
        raise ModelError(message, "Give the .pth file of torch.save.")
    checkpoint = load_checkpoint(path)
    weights = {name: tensor.contiguous() for name, tensor in single_names(checkpoint.weights).items()}
    target = path.with_suffix(SAFETENSORS)
    with atomic_path(target) as temporary:
        _write(temporary, weights, checkpoint)
        temporary.chmod(path.stat().st_mode & 0o777)  # safetensors keeps its files to their owner
        _require_equal(parse_checkpoint(target, *read_safetensors(temporary), ""), checkpoint, weights)
    return target


def checkpoints_in(path: Path) -> list[Path]:
    """Return the .pth files that a path means: itself, that of a fold's folder, or those of all folds of a model folder.

    Raises:
        ModelError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    folders = [path, *sorted(path.glob("fold_*"))]
    found = [next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None) for folder in folders]
    files = [file for file in found if file is not None]
    if not files:
        where = f"{path} is not there" if not path.exists() else f"{path}: there is no {CHECKPOINTS[0]} (found {listing(path)})"
        message = f"{where}."
        raise ModelError(message, "Give a .pth file, or a model folder with fold_0 and its checkpoint.")
    return files


def _write(path: Path, weights: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError as error:
        message = "Converting needs the package safetensors, which is not installed."
        raise ModelError(message, f"Install it: {_EXTRA}") from error
    said = {
        "trainer": checkpoint.trainer,
        "configuration": checkpoint.configuration,
        "mirror_axes": checkpoint.mirror_axes,
        "source": checkpoint.path.name,
        "source_sha256": checkpoint.sha256,
    }
    try:
        save_file(weights, path, {"format": "pt", METADATA: json.dumps(said)})
    except SafetensorError as error:  # how it reports a full disk
        message = f"{checkpoint.path.with_suffix(SAFETENSORS)}: cannot be written ({error})."
        raise StorageError(message, "Free space or choose another folder.") from error


def _require_equal(written: Checkpoint, checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> None:
    import torch

    found = written.weights
    same = _said(written) == _said(checkpoint) and sorted(found) == sorted(weights)
    if same and all(found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in weights.items()):
        return
    message = f"{checkpoint.path}: what was written did not read back equal, and was removed."
    raise ModelError(message, "Check the disk, then convert again.")


def _said(checkpoint: Checkpoint) -> tuple[str, str, tuple[int, ...] | None]:
    return checkpoint.trainer, checkpoint.configuration, checkpoint.mirror_axes
