"""AutoOrgan's seven tasks and one whole-body label map of their results.

Painting order, what comes later covers what came before: organ, then the coarse groups of the task global, then the detailed tasks
lower_limb, upper_limb, hip, rib, vertebrae. A group ("rib") is seen only where no detailed label ("rib_left_5") is. Vertebrae come
last: ribs are counted from them.

Values: organs keep AutoOrgan's own (1-24), then follow global (25-30), vertebrae (31-54), rib (55-78), upper_limb (79-94), hip (95-97)
and lower_limb (98-111), each in its own order; names are canonical. The table is Resources/Labels/autoorgan_whole_body.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.label_conversion import value_mapping
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, require_same_grid
from AtlasSegmentLib.volume_io import label_values

WHOLE_BODY = "autoorgan_whole_body"
_TASKS_TABLE = "autoorgan_tasks"


@dataclass(frozen=True)
class Task:
    """One of AutoOrgan's seven models.

    Attributes:
        key: Short name, such as "rib".
        number: nnU-Net's number of its data set; AutoOrgan's example command for ribs says 888, its table 998.
        order: Place in the painting order; a higher one covers a lower one.
    """

    key: str
    number: int
    order: int

    @property
    def table(self) -> LabelTable:
        """The values that the model gives."""
        return load_table(f"autoorgan_{self.key}")


TASKS = (
    Task("organ", 999, 1),
    Task("global", 106, 2),
    Task("vertebrae", 108, 7),
    Task("rib", 998, 6),
    Task("upper_limb", 113, 4),
    Task("hip", 114, 5),
    Task("lower_limb", 112, 3),
)
"""In the order of the values of the whole-body table."""


def task_of(name: str) -> Task:
    """Return a task by its key or number ("rib", "upper-limb", "998").

    Raises:
        InputError: There is no such task.
    """
    key = name.strip().lower().replace("-", "_").removeprefix("autoorgan_")
    key = "998" if key == "888" else key
    found = next((task for task in TASKS if key in {task.key, str(task.number)}), None)
    if found is None:
        message = f"There is no AutoOrgan task {name!r}."
        raise InputError(message, f"Use one of {', '.join(f'{task.key} ({task.number})' for task in TASKS)}.")
    return found


@cache
def whole_body_table() -> LabelTable:
    """Return the table of the whole-body map; `build_table` says how its values come about."""
    return load_table(WHOLE_BODY)


def build_table() -> LabelTable:
    """Return the whole-body table made anew from the seven task tables: canonical names, numbered task by task."""
    names = [task.table.structure_of(value).name for task in TASKS for value in task.table.labels]
    return LabelTable(WHOLE_BODY, "AutoOrgan: whole body (seven tasks merged)", dict(enumerate(names, 1)), "AutoOrgan's seven tasks")


def tasks_table() -> LabelTable:
    """Return the table of the map that tells which task each voxel came from."""
    return LabelTable(_TASKS_TABLE, "AutoOrgan task that a voxel came from", {task.order: f"task_{task.key}" for task in TASKS})


@dataclass(frozen=True)
class WholeBody:
    """Several tasks in one map.

    Attributes:
        labels: uint8 (X, Y, Z) with the whole-body table.
        tasks: uint8 (X, Y, Z), the order number of the task that each voxel came from (`tasks_table`), 0 is background; or None.
        merged: The tasks that were given, in painting order.
        covered: (task below, task above) to the number of voxels that the task below lost.
    """

    labels: LabelVolume
    tasks: LabelVolume | None
    merged: tuple[Task, ...]
    covered: Mapping[tuple[str, str], int]


class WholeBodyPainter:
    """Paints tasks into one map, slab by slab, so that one slab of a task is in memory at a time.

    Args:
        grid: The grid of all tasks.
        keep_tasks: Remember which task each voxel came from.
    """

    def __init__(self, grid: Grid, keep_tasks: bool = False) -> None:
        self._grid = grid
        self._labels = np.zeros(grid.shape, np.uint8, order="F")
        self._tasks = np.zeros(grid.shape, np.uint8, order="F") if keep_tasks else None
        self._merged: list[Task] = []
        self._covered: dict[tuple[str, str], int] = {}

    def paint(self, task: Task, table: LabelTable, grid: Grid, slabs: Iterable[tuple[int, Array]]) -> None:
        """Paint one task over what is there.

        Args:
            task: At a later place in the painting order than those before.
            table: What the values of the slabs mean.
            grid: Their grid.
            slabs: (first z, integers (X, Y, n)).

        Raises:
            InputError: The order is not kept, or values are not whole numbers.
            LabelError: A value that the table does not have, or a structure that the whole-body table does not have.
            GeometryError: Another grid.
        """
        if self._merged and task.order <= self._merged[-1].order:
            message = f"Task {task.key!r} cannot be painted after {self._merged[-1].key!r}."
            raise InputError(message, "Give every task once, in painting order.")
        require_same_grid(grid, self._grid)
        source = grid.source or task.key
        lookup = _lookup(table, source)
        self._merged.append(task)
        for first, slab in slabs:
            self._paint_slab(task, lookup, table, first, slab, source)

    def _paint_slab(self, task: Task, lookup: npt.NDArray[np.uint8], table: LabelTable, first: int, slab: Array, source: str) -> None:
        box = bounding_box(slab)  # most of a body is not in a task
        if box is None:
            return
        values = _whole(slab[box], source)
        table.require_values(label_values(values), source)
        new = lookup[values] if values.dtype.kind == "u" else lookup[values.astype(np.intp)]
        filled = new != 0
        place = (box[0], box[1], slice(box[2].start + first, box[2].stop + first))
        below = self._labels[place]
        _count_covered(self._covered, below[filled], task)
        np.copyto(below, new, where=filled)
        if self._tasks is not None:
            np.copyto(self._tasks[place], np.uint8(task.order), where=filled)

    def finish(self) -> WholeBody:
        """Return the map. Its header is that of the grid."""
        grid = self._grid
        tasks = None if self._tasks is None else LabelVolume(self._tasks, grid.affine, "", grid.header, tasks_table())
        labels = LabelVolume(self._labels, grid.affine, "", grid.header, whole_body_table())
        return WholeBody(labels, tasks, tuple(self._merged), dict(self._covered))


def merge_tasks(volumes: Mapping[str, LabelVolume], keep_tasks: bool = False) -> WholeBody:
    """Merge label maps of AutoOrgan's tasks into one whole-body map.

    Args:
        volumes: Task (key or number) to its label map, all on one grid; at least one. A map without a table has the task's own values.
        keep_tasks: Also return which task each voxel came from.

    Raises:
        InputError: No map, no such task, a task twice, or values that are not whole numbers.
        LabelError: A value that a task does not have.
        GeometryError: The grids differ.
    """
    given = in_painting_order(volumes)
    painter = WholeBodyPainter(given[0][1].grid, keep_tasks)
    for task, volume in given:
        slabs = ((z, volume.array[:, :, z : z + _SLICES]) for z in range(0, volume.shape[2], _SLICES))
        painter.paint(task, volume.table or task.table, volume.grid, slabs)
    return painter.finish()


_SLICES = 16


def in_painting_order(given: Mapping[str, LabelVolume]) -> list[tuple[Task, LabelVolume]]:
    """Return (task, map) in painting order. Raises InputError for none, an unknown task or one given twice."""
    if not given:
        message = "There is no label map to merge."
        raise InputError(message, "Give at least one task with its label map.")
    found = [(task_of(name), volume) for name, volume in given.items()]
    require_once([task for task, _ in found])
    return sorted(found, key=lambda item: item[0].order)


def require_once(tasks: Iterable[Task]) -> None:
    """Check that no task is there twice. Raises InputError."""
    seen: set[str] = set()
    for task in tasks:
        if task.key in seen:
            message = f"Task {task.key!r} is given twice."
            raise InputError(message, "Give each task once.")
        seen.add(task.key)


def _lookup(table: LabelTable, source: str) -> npt.NDArray[np.uint8]:
    """Return whole-body value by task value. Raises LabelError for structures that the whole-body table lacks."""
    target = whole_body_table()
    names = {target.structure_of(value).name for value in target.labels}
    foreign = [table.name_of(value) for value in table.labels if table.structure_of(value).name not in names]
    if foreign:
        message = f"{source}: {', '.join(foreign[:5])} {'are' if len(foreign) > 1 else 'is'} not among AutoOrgan's structures."
        raise LabelError(message, "Give a label map of the task that it is said to be.")
    lookup = np.zeros(max(table.labels, default=0) + 1, np.uint8)
    for value, new in value_mapping(table, target).items():
        lookup[value] = new
    return lookup


def _whole(slab: Array, source: str) -> Array:
    """Return a slab as integers. Raises InputError when it is not of whole numbers."""
    if slab.dtype.kind in "biu":
        return slab
    whole = np.rint(slab)
    if not (whole == slab).all():
        message = f"{source}: a label map holds whole numbers, and some of its values are not."
        raise InputError(message, "Give the label map, not a probability map.")
    return whole


def _count_covered(covered: dict[tuple[str, str], int], below: npt.NDArray[np.uint8], task: Task) -> None:
    if not below.any():
        return
    lost = np.bincount(_owner()[below], minlength=len(TASKS) + 1)
    for other in TASKS:
        if lost[other.order]:
            pair = (other.key, task.key)
            covered[pair] = covered.get(pair, 0) + int(lost[other.order])


@cache
def _owner() -> npt.NDArray[np.uint8]:
    """Return the order number of the task that each whole-body value belongs to."""
    table = whole_body_table()
    owner = np.zeros(256, np.uint8)
    for task in TASKS:
        for value in task.table.labels:
            owner[table.value_of(task.table.name_of(value))] = task.order
    return owner
