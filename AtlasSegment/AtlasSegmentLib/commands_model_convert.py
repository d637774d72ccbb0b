"""`atlas model convert`: checkpoints of torch.save rewritten as .safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.model_facts import size_text
from AtlasSegmentLib.torch_convert import checkpoints_in, convert_checkpoint


def convert_command(
    path: Annotated[Path, typer.Argument(readable=False, help="A checkpoint (.pth), a fold's folder, or an nnU-Net model folder.")],
    as_json: console.JsonOption = False,
) -> None:
    """Rewrite checkpoints as .safetensors, which cannot hold a program and load faster; the originals stay.

    Example: atlas model convert Dataset106_TotalBone3/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres
    """
    converted = [(original, convert_checkpoint(original)) for original in checkpoints_in(path)]
    if as_json:
        files = [
            {"original": original, "bytes_before": original.stat().st_size, "file": file, "bytes": file.stat().st_size}
            for original, file in converted
        ]
        console.print_json({"step": "convert", "files": files})
        return
    for original, file in converted:
        before, after = size_text(original.stat().st_size), size_text(file.stat().st_size)
        console.print_line(f"{file}: {after} (was {before}), read back equal; {original.name} is kept")
