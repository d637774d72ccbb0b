"""`atlas predict`: the options of nnUNetv2_predict, so that commands written for it run as they are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.cpu_threads import threads_for
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import storage_errors, write_json
from AtlasSegmentLib.inference_settings import PRESETS, InferenceSettings, settings_for
from AtlasSegmentLib.nnunet_folder import find_task
from AtlasSegmentLib.nnunet_labels import read_dataset
from AtlasSegmentLib.nnunet_predict import (
    ARGUMENTS,
    PredictRequest,
    copy_description,
    find_images,
    fold_names,
    part_of,
    predict_image,
    request_name,
)

_DEVICES: dict[str, Device] = {"cuda": "auto", "gpu": "gpu", "auto": "auto", "mps": "auto", "cpu": "cpu"}
_EXAMPLE = "Example: atlas predict -i images -o labels -d 106 -tr nnUNetTrainerNoMirroring -f 0 -c 3d_fullres --c"


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("predict", context_settings=settings, short_help="Label maps of a folder of CTs, with nnUNetv2_predict's options.")(
        predict_command
    )


def predict_command(context: typer.Context) -> None:
    """Predict a folder of CTs with an nnU-Net v2 model; takes the options of nnUNetv2_predict and nnUNetv2_predict_from_modelfolder."""
    arguments = _parser().parse_args(context.args)
    if arguments.m is None and arguments.d is None:
        message = "No model given."
        raise InputError(message, "Add -d (number or name of the dataset), or -m (model folder).")
    model = arguments.m or find_task(arguments.d, arguments.tr, arguments.p, arguments.c)
    if arguments.jobs < 1:
        message = f"--jobs {arguments.jobs}: at least one image is worked on at a time."
        raise InputError(message, "Give 1 or more.")
    requests = _requests(arguments, Path(model))
    _prepare(arguments, Path(model))
    with console.progress_bar("predict") as progress:
        outcomes = run_cases(
            requests, predict_image, request_name, jobs=arguments.jobs, progress=progress, overlap=not arguments.no_overlap
        )
    console.finish("predict", outcomes, arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("atlas predict", description=predict_command.__doc__, epilog=_EXAMPLE, allow_abbrev=False)
    add = parser.add_argument
    add("-i", type=Path, required=True, help="folder of images named <case>_0000.nii.gz, or one image")
    add("-o", type=Path, required=True, help="folder for the label maps; made when it is not there")
    add("-d", help="number or name of the dataset below $nnUNet_results")
    add("-m", type=Path, help="model folder, in place of -d, -tr, -p and -c")
    add("-tr", default="nnUNetTrainer", help="trainer")
    add("-p", default="nnUNetPlans", help="plans")
    add("-c", default="3d_fullres", help="configuration")
    add("-f", nargs="+", metavar="FOLD", help="folds; by default all that are there")
    add("-chk", default=None, help="name of the checkpoint files")
    add("--continue_prediction", "--c", action="store_true", dest="skip", help="skip images whose label map is there")
    add("-part_id", type=int, default=0, help="which part of the images, from 0")
    add("-num_parts", type=int, default=1, help="how many parts")
    add("-step_size", type=float, default=None, help="distance of windows as a share of the window (nnU-Net: 0.5)")
    add("--disable_tta", action="store_true", help="no mirroring")
    add("--preset", choices=sorted(PRESETS), default="best", help="best computes what nnU-Net computes")
    add("--save_probabilities", action="store_true", help="write <case>.npz (class, z, y, x) and <case>.pkl")
    add("-prev_stage_predictions", type=Path, default=None, help="label maps of a cascade's first stage; by default computed")
    add("-device", default="auto", choices=sorted(_DEVICES), help="where it runs; cuda falls back to the CPU and says so")
    add("--jobs", type=int, default=1, help="images worked on side by side")
    add("--no-overlap", action="store_true", help="do not read and write other images meanwhile; takes less memory")
    add("--json", action="store_true", help="print the result as one JSON object")
    for ignored in ("-npp", "-nps"):
        add(ignored, type=int, default=None, help="taken and not needed: reading and writing overlap by themselves")
    for flag in ("--verbose", "--disable_progress_bar", "--not_on_device"):
        add(flag, action="store_true", help="taken and not needed")
    return parser


def _requests(arguments: argparse.Namespace, model: Path) -> list[PredictRequest]:
    ending = read_dataset(model).file_ending
    if arguments.i.is_file() and not arguments.i.name.endswith(ending):
        ending = next((known for known in (".nii.gz", ".nii", ".nrrd", ".mha") if arguments.i.name.endswith(known)), ending)
    if arguments.o.resolve() == (arguments.i if arguments.i.is_dir() else arguments.i.parent).resolve():
        message = f"{arguments.o}: is the folder of the images."
        raise InputError(message, "Give another folder with -o, so that no image can be replaced.")
    images = find_images(arguments.i, ending, part_of(arguments.part_id, arguments.num_parts))
    workers = min(arguments.jobs, len(images))
    shared: dict[str, Any] = {
        "model": model,
        "folds": fold_names(arguments.f),
        "checkpoint": arguments.chk,
        "settings": _settings(arguments),
        "device": _DEVICES[arguments.device],
        "threads": threads_for(workers) if workers > 1 else 0,
        "probabilities": arguments.save_probabilities,
        "skip_finished": arguments.skip,
    }
    before = arguments.prev_stage_predictions
    return [
        PredictRequest(image, arguments.o / f"{case}{ending}", first_stage=before and before / f"{case}{ending}", **shared)
        for case, image in images
    ]


def _settings(arguments: argparse.Namespace) -> InferenceSettings:
    """Return the preset with single changes; nothing is cropped here, since nnU-Net crops nothing."""
    return settings_for(arguments.preset, step=arguments.step_size, mirror=False if arguments.disable_tta else None)


def _prepare(arguments: argparse.Namespace, model: Path) -> None:
    with storage_errors(arguments.o):
        arguments.o.mkdir(parents=True, exist_ok=True)
    copy_description(model, arguments.o)
    if arguments.part_id == 0:
        said = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        write_json(arguments.o / ARGUMENTS, said)
