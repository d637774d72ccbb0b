"""How long a reader waits on a large CT; printed, as times depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import read_volume
from review_data import scores, write_scores
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
ORGANS = ("liver", "spleen", "pancreas", "stomach", "aorta", "postcava", "kidney_left", "kidney_right")


def make_large_case(folder: Path, volume: Volume) -> None:
    """Write a case with the CT and eight blocks for organs."""
    case = CaseFolder(folder)
    write_nifti(case.ct, volume)
    for number, organ in enumerate(ORGANS):
        mask = volume.array > 0
        mask[: 50 * number] = False
        mask[50 * number + 60 :] = False
        write_nifti(case.average.mask(organ), volume.with_array(mask.astype("uint8")))
        write_nifti(case.average.map("attention", organ), volume.with_array(mask.astype("uint8") * (volume.array > 100)))
    write_scores(case, scores(**{organ: 1000.0 - number for number, organ in enumerate(ORGANS)}))


def test_the_next_case_of_512x512x275_opens_within_a_second(
    shared_data: Path, tmp_path: Path, open_module: Callable[[str], Any], wait_until: Callable[..., None]
) -> None:
    volume = read_volume(shared_data / "data/chest-abdomen-1mm/ct.nii.gz")
    for name in ("one", "two"):
        make_large_case(tmp_path / "hospital" / name, volume)
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(tmp_path / "hospital")
    for what, open_it in (
        ("first task of a case that nobody read", desk.take_next),
        ("next organ of the same case", lambda: desk.click(desk.ui.acceptButton)),
        ("again", lambda: desk.click(desk.ui.acceptButton)),
    ):
        desk.wait(lambda: not desk.panel.task._ahead.reading)
        start = time.perf_counter()
        open_it()
        print(f"\n{what}: {time.perf_counter() - start:.2f} s", end="")
    ahead = desk.panel.task._ahead
    ahead.request(tmp_path / "hospital" / "two", "liver").result()
    start = time.perf_counter()
    desk.go_to("two", "liver")
    print(f"\nnext case, read ahead: {time.perf_counter() - start:.2f} s", end="")
    start = time.perf_counter()
    mask = desk.panel.task.mask()
    read = time.perf_counter() - start
    mask.crop[0, 0, 0] = 0
    desk.panel.task.putMask(mask)
    start = time.perf_counter()
    desk.panel.task.autosave()
    print(f"\nmask out of the editor: {read:.2f} s; autosave: {time.perf_counter() - start:.2f} s")
    assert desk.name == "two liver taken"
