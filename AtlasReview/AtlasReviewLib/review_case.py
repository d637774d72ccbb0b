"""All that a reader needs of one task, read from the disk: CT, masks of every organ, attention and hot spots. No MRML."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasQualityLib.overlay_maps import in_percent
from AtlasReviewLib.case_masks import as_binary, case_grid, on_grid
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.file_stamp import Stamp, stamp
from AtlasReviewLib.neighbors import overlap_ml
from AtlasReviewLib.revisions import predicted_mask
from AtlasReviewLib.slice_profile import AttentionWeights, read_weights
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import SparseVolume, from_dense, read_sparse
from AtlasSegmentLib.volume import Array, Grid, Volume, require_same_grid

_THREADS = 4
_FULL = 255.0  # of an attention map


@dataclass(frozen=True)
class OrganMask:
    """The mask of an organ that counts now.

    Attributes:
        mask: 0/1 in the box that it fills, on the grid of the case.
        file: Where it was read from; None when there is no file and it starts empty.
        revised: It is a revision, not a prediction.
    """

    mask: SparseVolume
    file: Path | None
    revised: bool


@dataclass(frozen=True)
class View:
    """What the reader of a task sees of its case.

    Attributes:
        reading: 1, or 2 for the second reading of the task's organ.
        blind: Other organs that two readers do, blind to each other, and are not done: their predictions are shown.
    """

    reading: int = 1
    blind: frozenset[str] = frozenset()


FIRST = View()


@dataclass(frozen=True)
class ReviewCase:
    """One task, ready to be shown.

    Attributes:
        case: The case folder.
        organ: The organ of the task.
        grid: The voxels that every mask lies on.
        ct: The CT, or None when the case has none.
        organs: Organ to mask that counts now, the task's organ always among them.
        overlap_ml: How much of the task's organ lies in another organ too.
        attention: Attention map of the organ in percent of its maximum, uint8 0..100, in the box that it fills; or None.
        hot_spots: Of that organ, the most important one first.
        weights: The map that the attention of each slice is summed of, or None.
        problems: What could not be read, one sentence each; the task can be opened without it.
        stamps: File to size and time of change when it was read.
        view: Which reading it is, and what its reader must not see.
    """

    case: CaseFolder
    organ: str
    grid: Grid
    ct: Volume | None
    organs: Mapping[str, OrganMask]
    overlap_ml: float = 0.0
    attention: SparseVolume | None = None
    hot_spots: tuple[HotSpot, ...] = ()
    problems: tuple[str, ...] = ()
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    weights: AttentionWeights | None = None
    view: View = field(default_factory=lambda: FIRST)

    @property
    def baseline(self) -> OrganMask:
        """The mask of the task's organ as it is on the disk."""
        return self.organs[self.organ]


def load_review_case(
    folder: Path, organ: str, progress: ProgressCallback = ignore_progress, known: ReviewCase | None = None, view: View = FIRST
) -> ReviewCase:
    """Read a task from the disk.

    Args:
        folder: The case folder.
        organ: The organ to review; one without any mask starts empty.
        progress: Told a fraction 0..1 and what is read; may raise to end the reading.
        known: A task of the same case that was read before: files that did not change are not read again.
        view: Which reading it is, and what its reader must not see; see `double_reading.view_of`.

    Raises:
        DatasetError: The case is gone, or it has nothing that says where its voxels lie.
        InputError, GeometryError: The mask of the organ itself is damaged or lies on another grid.
    """
    if not folder.is_dir():
        message = f"{folder}: the case is not there any more."
        raise DatasetError(message, "Read the list again.")
    case = reading_case(open_case(folder), view.reading)
    reader = _Reader(case, organ, known if known is not None and known.case.folder == case.folder else None, view)
    progress(0.0, "masks")
    organs = reader.organs(lambda fraction, text: progress(0.4 * fraction, text))
    progress(0.4, "overlap")
    overlap = overlap_ml(organs[organ].mask, [other.mask for name, other in organs.items() if name != organ])
    progress(0.45, "CT")
    ct = reader.ct()
    progress(0.9, "attention")
    attention = reader.attention()
    progress(0.95, "hot spots")
    spots, weights = reader.hot_spots(), reader.weights()
    progress(1.0, "")
    problems = tuple(reader.problems)
    return ReviewCase(case, organ, reader.grid, ct, organs, overlap, attention, spots, problems, reader.stamps, weights, view)


class _Reader:
    """Reads the files of one case and remembers what went wrong."""

    def __init__(self, case: CaseFolder, organ: str, known: ReviewCase | None, view: View) -> None:
        self.case, self.organ, self.known, self.view = case, organ, known, view
        self.problems: list[str] = []
        self.stamps: dict[str, Stamp] = {}
        self.grid = self._grid()

    def _grid(self) -> Grid:
        try:
            return case_grid(self.case)
        except AtlasError as error:
            self._note(error)
        for organ in [self.organ, *self.case.average.organs()]:  # the CT is damaged: the masks say where they lie
            path = self._file(organ)[0]
            if path is not None:
                return read_sparse(path).grid
        message = f"{self.case.folder}: neither the CT nor a mask can be read."
        raise DatasetError(message, "Copy the case again.")

    def _note(self, error: AtlasError) -> None:
        if error.message not in self.problems:
            self.problems.append(error.message)

    def _is_unchanged(self, path: Path) -> bool:
        self.stamps[str(path)] = stamp(path)
        return self.known is not None and self.known.stamps.get(str(path)) == self.stamps[str(path)]

    def _file(self, organ: str) -> tuple[Path | None, bool]:
        if organ in self.view.blind and organ != self.organ:
            return predicted_mask(self.case, organ), False
        # What was revised of other organs counts by its first reading.
        revised = (self.case if organ == self.organ else reading_case(self.case, 1)).average.revised_mask(organ)
        self.stamps[str(revised)] = stamp(revised)  # also of one that is not there: it may come
        return (revised, True) if revised.is_file() else (predicted_mask(self.case, organ), False)

    def organs(self, progress: ProgressCallback) -> dict[str, OrganMask]:
        """Read every mask that counts: revised over predicted. Masks of other organs that cannot be used are left out."""
        average, models = reading_case(self.case, 1).average, self.case.models()
        names = {*average.organs(), *average.revised_organs()}
        if not average.organs() and len(models) == 1:
            names |= set(self.case.backbone(models[0]).organs())
        found = {self.organ: self._mask(self.organ)}
        own = structure_for(self.organ).name
        others = sorted(name for name in names if structure_for(name).name != own)
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            masks = {name: pool.submit(self._mask, name) for name in others}
            try:
                for number, (name, mask) in enumerate(masks.items()):
                    progress(number / len(masks), name)
                    try:
                        found[name] = mask.result()
                    except AtlasError as error:
                        self._note(error)
            finally:
                pool.shutdown(cancel_futures=True)
        return found

    def _mask(self, organ: str) -> OrganMask:
        path, revised = self._file(organ)
        if path is None:
            return OrganMask(_empty(self.grid), None, False)
        known = None if self.known is None else self.known.organs.get(organ)
        if self._is_unchanged(path) and known is not None and known.file == path:
            return known
        return OrganMask(read_mask_sparse(path, self.grid), path, revised)

    def ct(self) -> Volume | None:
        """Read the CT, or take the one that was read before."""
        path = self.case.ct
        if not path.is_file():
            self.problems.append(f"{self.case.name}: the case has no CT (ct.nii.gz); only its masks can be shown.")
            return None
        if self._is_unchanged(path) and self.known is not None and self.known.ct is not None:
            return self.known.ct
        try:
            return read_nifti(path)
        except AtlasError as error:
            self._note(error)
            return None

    def attention(self) -> SparseVolume | None:
        """Read the attention map of the organ, if there is one that can be used."""
        path = self.case.average.map("attention", self.organ)
        if not path.is_file():
            return None
        try:
            sparse = read_sparse(path)
            require_same_grid(sparse.grid, self.grid)
            return in_percent(sparse, _FULL)
        except AtlasError as error:
            self._note(error)
            return None

    def hot_spots(self) -> tuple[HotSpot, ...]:
        """Find the hot spots of the organ."""
        if not self.case.average.map("attention", self.organ).is_file():
            return ()
        try:
            return tuple(find_hot_spots(self.case, [self.organ]))
        except AtlasError as error:
            self._note(error)
            return ()

    def weights(self) -> AttentionWeights | None:
        """Read the map that the slices are ranked by, if there is one that can be used."""
        try:
            weights = read_weights(self.case, self.organ)
            if weights is not None:
                require_same_grid(weights.map.grid, self.grid)
        except AtlasError as error:
            self._note(error)
            return None
        return weights


def is_current(loaded: ReviewCase) -> bool:
    """Tell whether the files of a task are still those that were read."""
    return all(stamp(Path(path)) == read for path, read in loaded.stamps.items())


def read_mask_sparse(path: Path, grid: Grid) -> SparseVolume:
    """Read a mask as the box that it fills, in the array order of `grid`.

    Raises:
        InputError: The file is damaged or not binary.
        GeometryError: It lies on another grid.
    """
    sparse = read_sparse(path)
    same_order = sparse.grid.shape == grid.shape and np.allclose(sparse.grid.affine, grid.affine, atol=1e-3)
    if same_order:
        require_same_grid(sparse.grid, grid)
        return SparseVolume(grid, sparse.box, as_binary(sparse.crop, str(path)).astype(np.uint8))
    volume = on_grid(Volume(sparse.dense(), sparse.grid.affine, str(path)), grid)  # another program wrote it in another order
    return sparse_of(as_binary(volume.array, str(path)).astype(np.uint8), grid)


def sparse_of(mask: Array, grid: Grid) -> SparseVolume:
    """Return a dense mask (X, Y, Z) as a copy of the box that it fills."""
    sparse = from_dense(mask, grid)
    return SparseVolume(grid, sparse.box, sparse.crop.astype(np.uint8, order="F", copy=True))


def same_mask(a: SparseVolume, b: SparseVolume) -> bool:
    """Tell whether two masks on one grid have the same voxels."""
    return bool(np.array_equal(a.within(b.box), b.crop) and np.count_nonzero(a.crop) == np.count_nonzero(b.crop))


def _empty(grid: Grid) -> SparseVolume:
    box: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
    return SparseVolume(grid, box, np.zeros((0, 0, 0), np.uint8))


Load = Callable[[Path, str, ProgressCallback, "ReviewCase | None", View], ReviewCase]
