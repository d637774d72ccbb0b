"""The case folder of AbdomenAtlas: where every file of a case lies (the README shows the whole tree)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.names import require_inside, require_links_inside, safe_name

REVISED = "_revised"
MC_DROPOUT = "mc_dropout"
"""Kind of the maps that `mc_dropout` makes; they lie beside the entropy maps."""
_ENDING = ".nii.gz"
_log = logging.getLogger(__name__)


def _organ_name(name: str) -> str:
    """Return `name` when it is safe and its file cannot be mistaken for the revised mask of another organ."""
    if name.endswith(REVISED):
        message = f"organ name {name!r} ends in {REVISED!r}, which is kept for masks that a reader revised."
        raise DatasetError(message, "Name the structure otherwise.")
    return safe_name(name, "organ name")


@dataclass(frozen=True)
class LabelFolder:
    """A folder of label files, one for each organ: `backbones/<model>` or `average`."""

    folder: Path

    @property
    def pseudo_label(self) -> Path:
        """All organs in one label map, values of the AbdomenAtlas table."""
        return self.folder / f"pseudo_label{_ENDING}"

    @property
    def run_record(self) -> Path:
        """How the files were made; written last, so that it also says the step is finished."""
        return self.folder / "run.json"

    @property
    def predicted_dice(self) -> Path:
        """{"organs": {organ: Dice that a quality model predicts for its mask, 0..1}}, where one did."""
        return self.folder / "predicted_dice.json"

    def mask(self, organ: str) -> Path:
        """Binary mask of an organ, uint8 0/1."""
        return self.map("segmentations", organ)

    def map(self, kind: str, organ: str) -> Path:
        """A map of one organ.

        `kind` is soft_pred, entropy, mc_dropout, attention, inconsistency, uncertainty, overlap or expected_error.
        """
        return self.folder / kind / f"{_organ_name(organ)}{_ENDING}"

    def organs(self, kind: str = "segmentations") -> list[str]:
        """Names of the organs that have a file of that kind, sorted; revised masks are not counted."""
        found = [p.name.removesuffix(_ENDING) for p in (self.folder / kind).glob(f"*{_ENDING}") if not p.name.startswith(".")]
        return sorted(name for name in found if not name.endswith(REVISED))

    def revised_mask(self, organ: str) -> Path:
        """Newest accepted revision of an organ (only `average` has one)."""
        return self.folder / "segmentations" / f"{_organ_name(organ)}{REVISED}{_ENDING}"

    def revised_organs(self) -> list[str]:
        """Names of the organs that have a revised mask, sorted."""
        found = [p.name.removesuffix(_ENDING) for p in (self.folder / "segmentations").glob(f"*{REVISED}{_ENDING}")]
        return sorted(name.removesuffix(REVISED) for name in found if not name.startswith("."))

    def revisions(self, organ: str) -> Path:
        """Folder of every revision ever saved of an organ."""
        return self.folder / "revisions" / _organ_name(organ)


@dataclass(frozen=True)
class CaseFolder:
    """One case: `<dataset folder>/<case name>`."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.folder.name

    @property
    def dataset(self) -> str:
        """Name of the dataset, which is the folder above."""
        return self.folder.parent.name

    @property
    def ct(self) -> Path:
        """The CT, a copy of what came in."""
        return self.folder / f"ct{_ENDING}"

    @property
    def original_label(self) -> Path:
        """Labels that came with the dataset, in the dataset's own values."""
        return self.folder / f"original_label{_ENDING}"

    @property
    def average(self) -> LabelFolder:
        """What all models say together, and everything derived from it."""
        return LabelFolder(self.folder / "average")

    def backbone(self, model: str) -> LabelFolder:
        """What one model says."""
        return LabelFolder(self.folder / "backbones" / safe_name(model, "model name"))

    def models(self) -> list[str]:
        """Names of the models that have predicted this case, sorted."""
        return sorted(p.name for p in (self.folder / "backbones").glob("*") if p.is_dir() and not p.name.startswith("."))


def open_case(path: Path) -> CaseFolder:
    """Return the case folder at `path`.

    Raises:
        DatasetError: There is no folder, neither a CT nor predictions are in it, or a folder in it is a link that leads
            outside the dataset.
    """
    case = _closed(CaseFolder(Path(path).resolve()))
    if not case.ct.is_file() and not (case.folder / "backbones").is_dir():
        message = f"{path}: is not a case folder (it has neither ct.nii.gz nor backbones/)."
        raise DatasetError(message, "Make one with: atlas segment CT --out DATASET_FOLDER --model MODEL.")
    return case


def new_case(dataset_folder: Path, name: str) -> CaseFolder:
    """Return the place of a case in a dataset folder; nothing is made on the disk.

    Raises:
        DatasetError: The name is unsafe, or it or a folder in it leads outside the dataset folder.
    """
    folder = Path(dataset_folder).resolve()
    return _closed(CaseFolder(require_inside(folder / safe_name(name, "case name"), folder)))


def _closed(case: CaseFolder) -> CaseFolder:
    """Return the case when no link in it would make us write outside its dataset folder. Raises DatasetError."""
    require_links_inside(case.folder, case.folder.parent)
    return case


def find_cases(paths: list[Path]) -> list[CaseFolder]:
    """Return the cases that `paths` name: each is a case folder, or a dataset folder whose cases are meant.

    Hidden entries, files and folders without a CT or predictions (such as exports) are passed over; so are, with a warning, cases of
    a dataset whose names cannot be used.

    Raises:
        DatasetError: A path does not exist or holds no case.
    """
    found: dict[Path, CaseFolder] = {}
    for path in paths:
        cases = _cases_at(Path(path))
        if not cases:
            message = f"{path}: no case found (a case is a folder with ct.nii.gz or backbones/)."
            raise DatasetError(message, "Give a case folder or the dataset folder above it.")
        found.update({case.folder: case for case in cases})
    return list(found.values())


def _cases_at(path: Path) -> list[CaseFolder]:
    if not path.is_dir():
        message = f"{path}: there is no such folder."
        raise DatasetError(message, "Check the path.")
    if _is_case(path):
        return [open_case(path)]
    try:
        children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError as error:
        message = f"{path}: the folder cannot be read ({error.strerror})."
        raise DatasetError(message, "Check its permissions.") from error
    return list(_well_named(path, [child.name for child in children if _is_case(child)]))


def _well_named(folder: Path, names: list[str]) -> Iterator[CaseFolder]:
    for name in names:
        try:
            safe_name(name, "case name")
        except DatasetError as error:  # one of ten thousand does not stop the others
            _log.warning("%s: %s This folder is left out. %s", folder, error.message, error.remedy)
        else:
            yield new_case(folder, name)


def _is_case(path: Path) -> bool:
    try:
        return (path / f"ct{_ENDING}").is_file() or (path / "backbones").is_dir()
    except PermissionError:  # such as lost+found at the top of a disk
        return False
