"""Model folders as nnU-Net v2 leaves them, and where `-d`, `-tr`, `-p` and `-c` of nnUNetv2_predict find them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN, listing
from AtlasSegmentLib.nnunet_labels import DATASET, Dataset, read_dataset
from AtlasSegmentLib.nnunet_plans import PLANS, Plans, read_plans
from AtlasSegmentLib.torch_checkpoint import SAFETENSORS

RESULTS = "nnUNet_results"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_FOLD = re.compile(r"fold_(\d+|all)")
_CHOOSE = "Give the model folder itself, or other values for the task, trainer, plans and configuration."


@dataclass(frozen=True)
class NnunetFolder:
    """A model folder: <results>/Dataset<id>_<name>/<trainer>__<plans>__<configuration>.

    Attributes:
        path: The folder.
        dataset: Its dataset.json.
        plans: Its plans.json.
        checkpoints: Fold ("0", "1", ..., "all") to its checkpoint, in this order; empty in a folder of an ONNX export.
    """

    path: Path
    dataset: Dataset
    plans: Plans
    checkpoints: dict[str, Path]

    @property
    def trainer(self) -> str:
        """The trainer that the folder's name says, or ""."""
        return self._parts[0]

    @property
    def configuration(self) -> str:
        """The configuration that the folder's name says, or ""; the checkpoint says it too."""
        return self._parts[2]

    @property
    def _parts(self) -> Sequence[str]:
        parts = self.path.absolute().name.split("__")
        return parts if len(parts) == 3 else ("", "", "")

    def chosen(self, folds: Iterable[int | str] | None = None) -> list[Path]:
        """Return the checkpoints of some folds, in the order asked for.

        Args:
            folds: Numbers or "all"; None takes all numbered folds that are there, and fold "all" when there are none.

        Raises:
            ModelError: A fold has no checkpoint; says which have.
        """
        there = ", ".join(self.checkpoints) or "none"
        if folds is None:
            found = [path for fold, path in self.checkpoints.items() if fold != "all"] or list(self.checkpoints.values())
            if found:
                return found
            message = f"{self.path}: there is no fold with a checkpoint (found {listing(self.path)})."
            raise ModelError(message, COPY_AGAIN)
        wanted = list(dict.fromkeys(str(fold) for fold in folds))
        missing = [fold for fold in wanted if fold not in self.checkpoints]
        if missing or not wanted:
            message = f"{self.path}: fold {', '.join(missing) or '(none given)'} has no checkpoint; folds with one: {there}."
            raise ModelError(message, f"Choose among the folds {there}.")
        return [self.checkpoints[fold] for fold in wanted]


def open_folder(path: Path, checkpoint: str | None = None) -> NnunetFolder:
    """Read dataset.json and plans.json of a model folder and find its checkpoints, whose content is not looked at.

    Args:
        path: The model folder, or one of its fold folders.
        checkpoint: Name of the checkpoint files, such as "checkpoint_best.pth"; by default the final one, else the best. The same
            name with .safetensors, where `atlas model convert` has written one, is preferred.

    Raises:
        ModelError: A file is missing or damaged.
    """
    path = Path(path)
    if _FOLD.fullmatch(path.name) and (path.parent / PLANS).is_file():
        path = path.parent
    for name in (DATASET, PLANS):
        if not (path / name).is_file():
            message = f"{path}: is no nnU-Net v2 model folder: {name} is missing (found {listing(path)})."
            raise ModelError(message, "Give a folder <trainer>__<plans>__<configuration> with dataset.json, plans.json and fold_0.")
    folds = sorted((fold for fold in path.glob("fold_*") if _FOLD.fullmatch(fold.name) and fold.is_dir()), key=_fold_order)
    found = {fold.name.removeprefix("fold_"): _checkpoint(fold, checkpoint) for fold in folds}
    return NnunetFolder(path, read_dataset(path), read_plans(path), {fold: file for fold, file in found.items() if file is not None})


def _fold_order(fold: Path) -> tuple[bool, int]:
    number = fold.name.removeprefix("fold_")
    return (not number.isdecimal(), int(number) if number.isdecimal() else 0)


def _checkpoint(fold: Path, wanted: str | None) -> Path | None:
    """Return a fold's checkpoint; a .safetensors file older than the .pth file beside it belongs to an earlier training."""
    for name in [wanted] if wanted else CHECKPOINTS:
        original = fold / name
        converted = original.with_suffix(SAFETENSORS)
        if converted.is_file() and not (original.is_file() and original.stat().st_mtime > converted.stat().st_mtime):
            return converted
        if original.is_file():
            return original
    return None


def find_task(
    task: int | str,
    trainer: str = "nnUNetTrainer",
    plans: str = "nnUNetPlans",
    configuration: str = "3d_fullres",
    *,
    results: Path | None = None,
) -> Path:
    """Return the model folder that nnUNetv2_predict means by -d, -tr, -p and -c.

    Args:
        task: Number of the dataset, or the full name of its folder ("Dataset106_TotalBone3").
        trainer: Name of the trainer.
        plans: Name of the plans.
        configuration: Name of the configuration.
        results: Folder of all models; by default what the environment variable nnUNet_results says.

    Raises:
        ModelError: There is no such folder, or several start with this number; says what there is.
    """
    root = _results(results)
    dataset = _dataset_folder(root, str(task).strip())
    found = dataset / f"{trainer}__{plans}__{configuration}"
    if not found.is_dir():
        message = f"{dataset}: there is no model {found.name}; there are {listing(dataset, 12)}."
        raise ModelError(message, _CHOOSE)
    return found


def _results(results: Path | None) -> Path:
    given = results or os.environ.get(RESULTS)
    if not given:
        message = f"The environment variable {RESULTS} is not set, so a task number leads nowhere."
        raise ModelError(message, f"Set {RESULTS} to the folder with the Dataset... folders, or give the model folder itself.")
    root = Path(given)
    if not root.is_dir():
        message = f"{root}: this folder ({RESULTS}) is not there."
        raise ModelError(message, f"Set {RESULTS} to the folder with the Dataset... folders.")
    return root


def _dataset_folder(root: Path, task: str) -> Path:
    """Return the one folder of a task; a name must match as it is, a number the beginning "Dataset<three digits>_"."""
    datasets = sorted(path for path in root.glob("Dataset*") if path.is_dir())
    if task.isascii() and task.isdecimal() and len(task) < 10:
        found = [path for path in datasets if path.name.startswith(f"Dataset{int(task):03d}_")]
    else:
        found = [path for path in datasets if path.name == task]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{root}: several datasets have the number {task}: {', '.join(path.name for path in found)}."
        raise ModelError(message, "Give the full name of one of them.")
    there = ", ".join(path.name for path in datasets[:12]) + (" ..." if len(datasets) > 12 else "")
    message = f"{root}: there is no dataset {task!r}; there are {there or 'none'}."
    raise ModelError(message, _CHOOSE)
