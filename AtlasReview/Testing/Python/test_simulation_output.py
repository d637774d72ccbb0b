"""What a simulated review is measured in: the speed of readers, and the picture."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasQualityLib.effort import EditingTime
from AtlasReviewLib.simulation import replay
from AtlasReviewLib.simulation_figure import simulation_png
from AtlasReviewLib.simulation_strategies import GAIN, ORACLE, RANDOM
from AtlasReviewLib.simulation_time import EditedTask, ReviewTime, edited_tasks, fitted_time, measured_time
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from simulation_phantom import editor, phantom, write_case


def edited(seconds, slices, cm2):
    return EditedTask(seconds, slices, cm2)


def test_the_speed_of_readers_is_found_in_their_tasks():
    random = np.random.default_rng(1)
    tasks = [
        edited(15 + 6 * s + 2.5 * c, int(s), float(c)) for s, c in zip(random.integers(1, 40, 30), random.uniform(1, 300, 30), strict=True)
    ]
    found = fitted_time(tasks)
    assert (found.open_seconds, found.slice_seconds, found.cm2_seconds) == pytest.approx((15, 6, 2.5))


def test_a_few_or_hostile_tasks_say_nothing_about_speed():
    assert fitted_time([edited(30, 3, 2)] * 9) is None
    assert fitted_time([edited(0, 3, 2)] * 20) is None
    assert fitted_time([edited(float("nan"), 3, 2), edited(float("inf"), 3, 2)] * 20) is None
    found = fitted_time([edited(30, 0, 0)] * 20)
    assert min(found.open_seconds, found.slice_seconds, found.cm2_seconds) >= 0


def test_minutes_count_masks_slices_drawing_and_looking():
    time = ReviewTime(EditingTime(20, 4, 3), look_seconds=1)
    np.testing.assert_allclose(time.minutes([True, False], [200.0, 0.0], [0, 6]) * 60, [20 + 4 + 6, 30 + 4 + 6])


def test_without_a_worklist_the_time_is_assumed(tmp_path):
    assert measured_time(tmp_path).source == "assumed"


def test_the_time_of_a_dataset_comes_from_its_worklist(tmp_path):
    """Tasks are read with their active seconds; what was changed is read from the masks."""
    folder = tmp_path / "hospital"
    case, _ = write_case(folder / "one")
    worklist, _ = open_worklist(folder)
    for organ in ("spleen", "liver"):
        mask = read_nifti(case.average.mask(organ))
        array = mask.array.copy()
        array[:, :, 5:8] = 0
        array[5:9, 6:8, 5:8] = 1  # 8 pixels of 5 square mm in each of three slices, and what was there before
        write_nifti(case.average.revised_mask(organ), Volume(array, mask.affine))
        task = worklist.take("one", organ, "Ada")
        worklist.add_seconds(task, "Ada", 90.0)
    worklist.close()
    tasks = edited_tasks(folder)
    assert [task.seconds for task in tasks] == [90.0, 90.0]
    assert {task.slices for task in tasks} == {3}
    assert all(task.cm2 >= 3 * 8 * 5 / 100 for task in tasks)
    assert "2 measured tasks are fewer than 10" in measured_time(folder).source


def test_the_picture_is_the_same_for_the_same_curves_and_takes_any_text():
    found = phantom()
    reader = editor(*found)
    curves = [replay(name, found[0].organs, reader, ReviewTime()) for name in (RANDOM, GAIN, ORACLE, "entropy")]
    pictures = [simulation_png(curves, "a $title_{$", "note $\\frac{$ <b>") for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")
