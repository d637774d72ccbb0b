"""The commands `atlas model export-onnx` and `atlas model quantize`: models in another form, with the agreement measured."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.model_facts import size_text
from AtlasSegmentLib.onnx_export import REPORT, Export, export_onnx
from AtlasSegmentLib.onnx_quantize import MODES, Quantized, Sample, mode_of, quantize
from AtlasSegmentLib.parity import SAME, MaskParity
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.segment_request import read_region
from AtlasSegmentLib.volume_io import read_volume

OutOption = Annotated[Path | None, typer.Option("--out", readable=False, help="Folder to make; by default one beside the model.")]
RoiOption = Annotated[
    str | None, typer.Option("--roi", help='Region for models that need one: a Slicer markups ROI (.mrk.json), or "whole".')
]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0 is all.")]


def export_onnx_command(
    model: Annotated[Path, typer.Argument(readable=False, help="nnU-Net v2 model folder, MONAI bundle, or atlas folder with TorchScript.")],
    out: OutOption = None,
    precision: Annotated[str, typer.Option(help="Weights and arithmetic in float32 or float16.")] = "float32",
    ct: Annotated[Path | None, typer.Option(readable=False, help="A CT to compare the masks of both models on.")] = None,
    roi: RoiOption = None,
    threads: ThreadsOption = 0,
    as_json: console.JsonOption = False,
) -> None:
    """Write a Torch model as an ONNX folder, compared with the original on patches and, with --ct, in its masks.

    Example: atlas model export-onnx Dataset106_TotalBone3/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres --ct scan.nii.gz
    """
    chosen = _precision(precision)
    region, image = read_region(roi), read_volume(ct) if ct is not None else None
    target = out or beside(model, "onnx" if chosen == "float32" else "onnx-float16")
    with console.progress_bar("export-onnx") as progress:
        done = export_onnx(model, target, chosen, ct=image, roi=region, threads=threads, progress=progress)
    if as_json:
        console.print_json({"step": "export-onnx", **asdict(done)})
        return
    for line in export_lines(done):
        console.print_line(line)


def export_lines(done: Export) -> list[str]:
    """Return what an export is told as."""
    lines = [f"{done.folder}: {len(done.networks)} ONNX network{'s' if len(done.networks) > 1 else ''}; details in {REPORT}"]
    for network in done.networks:
        found = network.random
        lines.append(
            f"{network.file}: {size_text(network.size)}; against Torch on {found.patches} random patches: largest difference "
            f"{found.max_difference:.1e} (largest value {found.largest:.3g}), same class for {found.same_class:.4%} of the voxels"
        )
    if done.ct is not None and done.ct_patches is not None:
        found = done.ct_patches
        lines.append(
            f"On {found.patches} patches of the CT: largest difference {found.max_difference:.1e}, same class {found.same_class:.4%}"
        )
        lines.append(_ct_line(done.ct))
    return lines


def quantize_command(
    model: Annotated[Path, typer.Argument(readable=False, help="Folder with an ONNX model.")],
    mode: Annotated[str, typer.Option(help=f"One of {', '.join(MODES)}.")],
    out: OutOption = None,
    ct: Annotated[
        list[Path], typer.Option(readable=False, help="CTs to measure the cost on; int8-static is calibrated on the first.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    roi: Annotated[list[str], typer.Option(help="The regions of these CTs, in the same order.")] = [],  # noqa: B006
    threads: ThreadsOption = 0,
    as_json: console.JsonOption = False,
) -> None:
    """Write a smaller copy of an ONNX model, and say what it costs: Dice against the model as it is, and time.

    Example: atlas model quantize models/abdomen --mode fp16 --ct scan.nii.gz --roi abdomen.mrk.json
    """
    chosen = mode_of(mode)
    samples = _samples(ct, roi)
    with console.progress_bar("quantize") as progress:
        done = quantize(model, out or beside(model, chosen), chosen, samples, threads=threads, progress=progress)
    if as_json:
        console.print_json({"step": "quantize", **asdict(done)})
        return
    for line in quantize_lines(done):
        console.print_line(line)


def quantize_lines(done: Quantized) -> list[str]:
    """Return what a quantization is told as."""
    lines = [f"{done.folder}: {done.mode}, {done.size_ratio:.0%} of the size"]
    if done.time_ratio is None:
        lines.append("Neither time nor Dice was measured; add --ct FILE for both.")
    elif done.time_ratio > 1:
        lines.append(f"Slower on this CPU: a pass takes {done.time_ratio:.2g} times as long as before.")
    else:
        lines.append(f"Faster on this CPU: a pass takes {done.time_ratio:.0%} of the time before.")
    return lines + [_ct_line(ct) for ct in done.cts]


def _ct_line(ct: MaskParity) -> str:
    """Return how masks agree on a CT: voxels, and the Dice of each structure that is not the same."""
    changed = {name: value for name, value in ct.dice.items() if value is not None and value < SAME}
    listed = ", ".join(f"{name} {value:.4f}" for name, value in sorted(changed.items(), key=lambda item: item[1]))
    found = sum(value is not None for value in ct.dice.values())
    rest = f"Dice below {SAME}: {listed}" if changed else f"Dice at least {SAME} for all"
    return f"{Path(ct.ct).name}: {ct.equal_voxels:.4%} of the voxels equal; of {found} structures found, {rest}"


def _precision(text: str) -> Precision:
    known: dict[str, Precision] = {"float32": "float32", "float16": "float16"}
    if text in known:
        return known[text]
    message = f"{text!r}: is no precision."
    raise InputError(message, f"Choose one of {', '.join(known)}.")


def _samples(cts: list[Path], rois: list[str]) -> list[Sample]:
    if rois and len(rois) != len(cts):
        message = f"{len(cts)} CTs and {len(rois)} regions are given."
        raise InputError(message, "Give --roi once for each --ct, in the same order, or not at all.")
    regions: list[Roi | Region | None] = [read_region(roi) for roi in rois] or [None] * len(cts)
    return [Sample(read_volume(path), region) for path, region in zip(cts, regions, strict=True)]


def beside(model: Path, suffix: str) -> Path:
    """Return the folder beside a model that its other form goes to; without the double underscores of nnU-Net's own folders."""
    folder = model.absolute()
    return folder.parent / f"{folder.name.replace('__', '-')}-{suffix}"
