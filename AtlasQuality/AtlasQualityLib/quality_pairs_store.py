"""Examples of label quality on the disk, one folder a case, and all of them together as what training and validation read.

`images.npy` holds the inputs and is mapped, not loaded, so that a data set may be larger than the memory; `slices.npz` and `masks.json`
say what they are. `masks.json` is written last: a folder without it was not finished and is made again.
"""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from AtlasQualityLib.quality_estimate import LookedAt
from AtlasQualityLib.quality_pairs import Example, PairOptions, examples_of
from AtlasQualityLib.quality_pairs_find import PairSource, Part
from AtlasQualityLib.quality_pairs_image import read_case
from AtlasQualityLib.quality_slices import Float32
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import atomic_path, read_json, write_json
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array
from AtlasSegmentLib.voxel_sum import voxels_sha256

FORMAT = "atlas-quality-pairs/4"
_IMAGES, _SLICES, _MASKS = "images.npy", "slices.npz", "masks.json"
_COLUMNS = ("mask", "index", "nearest", "weight", "area", "target")
_DAMAGED = (
    *(LookupError, TypeError, ValueError, AttributeError, OSError, EOFError, RuntimeError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What the reading of records and numpy raise at other files than were written; numpy parses the head of an array as Python text."""


@dataclass(frozen=True)
class MaskRecord:
    """One mask of a data set.

    Attributes:
        case, organ, source: See `quality_pairs.Example`.
        part: "train", "val" or "test".
        dice, nsd: The truth.
        first, count: Which slices are its own.
    """

    case: str
    organ: str
    source: str
    part: Part
    dice: float
    nsd: float | None
    first: int
    count: int


@dataclass(frozen=True)
class PairSet:
    """All examples of some cases.

    Attributes:
        masks: One record a mask; `first` counts over all cases.
        columns: One value a slice: mask (its number), index, nearest, weight, area, target.
        blocks: The images of each case, mapped, uint8 (n, 3, size, size).
        size: Rows and columns of the images.
        cts: Case to what tells its CT from others; see `voxel_sum.voxels_sha256`.
    """

    masks: tuple[MaskRecord, ...]
    columns: dict[str, Array]
    blocks: tuple[Array, ...]
    size: int
    cts: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.columns["target"])

    def slices_of(self, part: Part) -> Array:
        """Return the numbers of the slices of a part, ascending, int64."""
        chosen = np.array([mask.part == part for mask in self.masks], np.bool_)
        return np.flatnonzero(chosen[self.columns["mask"]]) if len(chosen) else np.zeros(0, np.int64)

    def masks_of(self, part: Part) -> list[int]:
        """Return the numbers of the masks of a part."""
        return [number for number, mask in enumerate(self.masks) if mask.part == part]

    def images(self, numbers: Array) -> Array:
        """Return CT, mask and reference of some slices, uint8 (n, 3, size, size)."""
        result = np.empty((len(numbers), 3, self.size, self.size), np.uint8)
        starts = np.cumsum([0, *(len(block) for block in self.blocks)])
        owner = np.searchsorted(starts, numbers, side="right") - 1
        for block in np.unique(owner):
            own = np.flatnonzero(owner == block)
            result[own] = self.blocks[block][numbers[own] - starts[block]]
        return result

    def organs(self, numbers: Array) -> list[str]:
        """Return the organ of some slices."""
        return [self.masks[number].organ for number in self.columns["mask"][numbers]]

    def looked_at(self, mask: int) -> tuple[list[LookedAt], Array]:
        """Return the slices of a mask and the areas that `quality_estimate.mask_score` takes, by slice."""
        record = self.masks[mask]
        own = slice(record.first, record.first + record.count)
        index, nearest, weight, area = (self.columns[name][own] for name in ("index", "nearest", "weight", "area"))
        areas = np.zeros(int(max(index.max(), nearest.max())) + 1, np.int64)
        areas[nearest] = area
        return [LookedAt(int(i), int(n), float(w)) for i, n, w in zip(index, nearest, weight, strict=True)], areas


def build_pairs(
    cases: Sequence[PairSource],
    folder: Path,
    options: PairOptions,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: ProgressCallback = ignore_progress,
) -> list[CaseOutcome]:
    """Make the examples of cases that are not there yet; finished cases are skipped unless their files or options have changed."""
    step = partial(_build, folder=folder, options=options)
    return run_cases(cases, step, _name, jobs=jobs, scheduler=scheduler, progress=progress)


def _name(case: PairSource) -> str:
    return case.name


def case_folder_of(folder: Path, case: PairSource) -> Path:
    """Return where the examples of a case lie: any name becomes a file name, and no two, and no two parts, become the same."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in case.name)[:40]
    return folder / f"{kept}-{case.part}-{hashlib.sha256(case.name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def is_built(folder: Path, case: PairSource, options: PairOptions) -> bool:
    """Tell whether the examples of a case are there, made with these options from these files."""
    place = case_folder_of(folder, case)
    if not (place / _MASKS).is_file():
        return False
    try:
        marks, _ = _read_masks(place)
    except AtlasError:  # so it is made again
        return False
    return marks["fingerprint"] == fingerprint(case, options)


def _build(case: PairSource, progress: ProgressCallback, *, folder: Path, options: PairOptions) -> dict[str, Any] | None:
    if is_built(folder, case, options):
        return None
    target, mark = case_folder_of(folder, case), fingerprint(case, options)
    (target / _MASKS).unlink(missing_ok=True)
    found: list[Example] = []
    image = read_case(case)
    for example in examples_of(case, options, image):
        progress(min(0.99, len(found) / 1000), f"{example.organ}, {example.source}")
        found.append(example)
    if not found:
        message = f"{case.reference}: the reference has no organ that is large enough to learn from."
        raise InputError(message, "Leave this case out, or give its label map another --table.")
    _write(target, case.name, found, {"fingerprint": mark, "ct": voxels_sha256(image.ct)})
    return {"masks": len(found), "slices": sum(len(one.targets) for one in found)}


def fingerprint(case: PairSource, options: PairOptions) -> str:
    """Return what changes when examples have to be made again: the options, the part, and name, size and time of each file."""
    files = [case.ct, case.reference, *(one.path for one in case.predictions)]
    marks = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    text = repr((FORMAT, asdict(options), case.part, case.table, [(p.source, p.organ) for p in case.predictions], marks))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _write(folder: Path, case: str, found: Sequence[Example], marks: Mapping[str, str]) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    records, first = [], 0
    for number, one in enumerate(found):
        count = len(one.targets)
        records.append(asdict(MaskRecord(case, one.organ, one.source, one.part, one.dice, one.nsd, first, count)))
        columns["mask"] += [number] * count
        for name in ("index", "nearest", "weight"):
            columns[name] += [getattr(looked, name) for looked in one.looked_at]
        columns["area"] += one.areas.tolist()
        columns["target"] += one.targets.tolist()
        first += count
    with atomic_path(folder / _IMAGES) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([one.images for one in found]))
    with atomic_path(folder / _SLICES) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items()}
        np.savez(file, **arrays)
    write_json(folder / _MASKS, {"format": FORMAT, **marks, "masks": records})


def read_pairs(folder: Path, cases: Sequence[PairSource]) -> PairSet:
    """Read the examples of cases, in their order.

    Raises:
        InputError: They are not there, damaged, or of different image sizes.
    """
    masks: list[MaskRecord] = []
    columns: dict[str, list[Array]] = {name: [] for name in _COLUMNS}
    blocks: list[Array] = []
    cts: dict[str, str] = {}
    slices = 0
    for case in cases:
        place = case_folder_of(folder, case)
        mark, records, own, block = _read(place)
        columns["mask"].append(own.pop("mask") + len(masks))
        for name, values in own.items():
            columns[name].append(values)
        masks += [replace(record, first=record.first + slices) for record in records]
        blocks.append(block)
        slices += len(block)
        cts[case.name] = mark
    sizes = {block.shape[-1] for block in blocks}
    if len(sizes) != 1:
        message = f"{folder}: the examples have {len(sizes)} image sizes {sorted(sizes)}; one is needed."
        raise InputError(message, "Make them again with one --size.")
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return PairSet(tuple(masks), joined, tuple(blocks), sizes.pop(), cts)


def _read(place: Path) -> tuple[str, list[MaskRecord], dict[str, Array], Array]:
    marks, records = _read_masks(place)
    try:
        with (place / _SLICES).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            own = {name: file[name] for name in _COLUMNS}
        block = np.lib.format.open_memmap(place / _IMAGES, mode="r")
        if block.ndim != 4 or block.dtype != np.uint8 or any(values.shape != (len(block),) for values in own.values()):
            raise ValueError(block.shape)
        if not np.array_equal(own["mask"], np.repeat(np.arange(len(records)), [record.count for record in records])):
            message = f"{_SLICES} and {_MASKS} are not of the same masks"
            raise ValueError(message)
    except _DAMAGED as error:
        raise _damaged(place, error) from error
    return marks["ct"], records, own, block


def _read_masks(place: Path) -> tuple[dict[str, str], list[MaskRecord]]:
    """Return fingerprint and CT of a case's examples, and its masks; `first` counts within the case. Raises InputError."""
    content = read_json(place / _MASKS)
    try:
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
        records, first = [MaskRecord(**record) for record in content["masks"]], 0
        for record in records:
            if not _is_sound(record) or record.first != first:
                message = f"{_MASKS}: {record}"
                raise ValueError(message)
            first += record.count
        return {name: str(content[name]) for name in ("fingerprint", "ct")}, records
    except _DAMAGED as error:
        raise _damaged(place, error) from error


def _is_sound(record: MaskRecord) -> bool:
    texts = all(isinstance(text, str) for text in (record.case, record.organ, record.source))
    truth = all(isinstance(value, int | float) and 0 <= value <= 1 for value in (record.dice, 0 if record.nsd is None else record.nsd))
    numbers = type(record.first) is int and type(record.count) is int and record.count > 0
    return texts and truth and numbers and record.part in get_args(Part)


def _damaged(place: Path, error: BaseException) -> InputError:
    message = f"{place}: the examples are damaged ({error})."
    return InputError(message, "Remove this folder; it is made again.")


def scores_of_masks(pairs: PairSet, masks: Sequence[int], slices: Float32, numbers: Array) -> Float32:
    """Return the score of each of some masks from those of slices.

    Args:
        pairs: The data set.
        masks: Numbers of masks, all of whose slices are among `numbers`.
        slices: Raw scores (n,).
        numbers: Which slices these are, ascending.
    """
    from AtlasQualityLib.quality_estimate import mask_score

    by_number = np.full(len(pairs), np.nan, np.float32)
    by_number[numbers] = slices
    result = []
    for mask in masks:
        record = pairs.masks[mask]
        looked_at, areas = pairs.looked_at(mask)
        result.append(mask_score(looked_at, by_number[record.first : record.first + record.count], areas))
    return np.asarray(result, np.float32)
