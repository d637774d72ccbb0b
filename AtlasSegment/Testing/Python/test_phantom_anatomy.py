"""The anatomical phantom: sizes, sides and touching organs as in adults, the same bytes from the same seed, the same person on any grid."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import catalog
from AtlasSegmentLib.phantom import PhantomCase, phantom, phantom_labels, phantom_table
from AtlasSegmentLib.phantom_scanner import ScanOptions
from phantom_ranges import RANGES, labels_in_pieces, sides_wrong, volumes_ml

SEEDS = (3, 7, 20)
QUIET = ScanOptions(noise=0, streaks=0, table=False)
COARSE = 5.0
# At 5 mm a tube of 7 mm comes and goes; the script Testing/Benchmarks/phantom_volumes.py looks at all of them at 3 mm.
LARGE = ("liver", "spleen", "kidney_right", "kidney_left", "stomach", "colon", "bladder", "heart", "vertebrae_L3", "vertebrae_T9", "sacrum")


@cache
def case(seed: int, spacing: float = COARSE) -> PhantomCase:
    """Return a phantom, made once for all tests."""
    return phantom(seed, spacing)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Dice coefficient of two masks."""
    return 2 * float(np.count_nonzero(a & b)) / float(np.count_nonzero(a) + np.count_nonzero(b))


def mask(made: PhantomCase, name: str) -> np.ndarray:
    """Return the mask of an organ."""
    return np.asarray(made.labels.array == phantom_table().value_of(name))


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_have_the_volumes_of_adults(seed: int) -> None:
    volumes = volumes_ml(case(seed).labels)
    wrong = {organ: volumes.get(organ, 0.0) for organ in LARGE if not RANGES[organ][0] <= volumes.get(organ, 0.0) <= RANGES[organ][1]}
    assert wrong == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_organ_is_one_piece_and_on_the_side_it_has_in_people(seed: int) -> None:
    labels = case(seed).labels
    assert labels_in_pieces(labels) == []
    assert sides_wrong(labels) == []


def test_every_structure_of_the_torso_has_its_canonical_name() -> None:
    names = phantom_table().names()
    assert set(names) <= set(catalog())
    found = volumes_ml(case(3).labels)
    levels = {f"vertebrae_{level}" for level in ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")}
    organs = {
        "spleen",
        "liver",
        "kidney_left",
        "kidney_right",
        "stomach",
        "gall_bladder",
        "pancreas",
        "duodenum",
        "colon",
        "intestine",
        "bladder",
    }
    vessels = {"aorta", "postcava", "portal_vein_and_splenic_vein", "heart", "lung_left", "lung_right"}
    assert levels | organs | vessels <= set(found)


@pytest.mark.parametrize(
    ("first", "second"), [("liver", "kidney_right"), ("liver", "gall_bladder"), ("liver", "stomach"), ("pancreas", "duodenum")]
)
def test_neighbors_touch(first: str, second: str) -> None:
    from scipy import ndimage

    touching = [np.any(ndimage.binary_dilation(mask(case(seed), first), iterations=2) & mask(case(seed), second)) for seed in SEEDS]
    assert sum(touching) >= 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_person() -> None:
    first, again, other = phantom(5, 9.0), phantom(5, 9.0), phantom(6, 14.0)
    assert first.ct.array.tobytes() == again.ct.array.tobytes()
    assert first.labels.array.tobytes() == again.labels.array.tobytes()
    assert first.parameters == again.parameters
    assert first.parameters["person"] != other.parameters["person"]


def test_the_bytes_do_not_depend_on_the_number_of_threads(repository: Path) -> None:
    code = (
        "import hashlib; from AtlasSegmentLib.phantom import phantom; c = phantom(5, 11.0);"
        "print(hashlib.sha256(c.ct.array.tobytes('F') + c.labels.array.tobytes('F')).hexdigest())"
    )
    digests = []
    for threads in ("1", "4"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment["PYTHONPATH"] = str(repository / "AtlasSegment")
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.append(run.stdout.strip())
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64


def test_a_crop_shows_the_same_person_as_the_whole() -> None:
    whole = phantom(7, 6.0, scan=QUIET)
    start, size = np.array([12, 8, 20]), (30, 24, 22)
    origin = whole.ct.affine[:3, 3] + 6.0 * start
    part = phantom(7, 6.0, size, origin=tuple(origin), scan=QUIET)
    window = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    difference = np.abs(part.ct.array.astype(int) - whole.ct.array[window])
    assert (difference <= 1).mean() > 0.999  # a grain of a texture can begin one rounding error further on
    assert difference.max() < 120
    same = part.labels.array == whole.labels.array[window]
    assert same.mean() > 0.999


def test_labels_alone_are_those_of_the_whole_phantom() -> None:
    box = {"shape": (30, 24, 30), "origin": (-90, -60, -220)}
    whole, alone = phantom(7, 6.0, **box).labels, phantom_labels(7, 6.0, **box)
    np.testing.assert_array_equal(alone.array, whole.array)
    np.testing.assert_array_equal(alone.affine, whole.affine)
    assert alone.table == whole.table


def test_every_range_of_volumes_says_who_published_it() -> None:
    assert all(0 < found.low < found.high and found.source for found in RANGES.values())
    assert set(RANGES) <= set(phantom_table().names())


def test_the_arch_of_a_vertebra_is_harder_than_its_spongy_body() -> None:
    made = phantom(7, 2.0, (50, 50, 12), origin=(-50, -80, -12), phase="none", scan=QUIET)
    inside = mask(made, "vertebrae_L2")
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    behind, before = inside.copy(), inside.copy()
    behind[:, rows[0] + len(rows) // 2 :], before[:, : rows[0] + len(rows) // 2] = False, False
    assert np.median(made.ct.array[behind]) > np.median(made.ct.array[before]) + 80


def test_the_socket_of_the_hip_is_open_to_the_side_and_closed_towards_the_middle() -> None:
    made = phantom(7, 3.0, (50, 20, 24), origin=(20, -25, -250), scan=QUIET)
    hip, femur = mask(made, "hip_right"), mask(made, "femur_right")
    head = np.argwhere(femur)
    top = int(head[:, 2].max()) - 8  # the middle of the head of the femur
    x, y = (int(value) for value in np.argwhere(femur[:, :, top]).mean(axis=0)[:2])
    assert hip[:x, y, top].any()
    assert not hip[x:, y, top - 3].any()


def test_another_spacing_shows_the_same_person() -> None:
    coarse, fine = phantom(7, 6.0, (40, 30, 20), origin=(-120, -90, -30)), phantom(7, 3.0, (80, 60, 40), origin=(-121.5, -91.5, -31.5))
    for organ in ("liver", "kidney_left", "vertebrae_L1"):
        blocks = mask(fine, organ).reshape(40, 2, 30, 2, 20, 2).mean(axis=(1, 3, 5)) >= 0.5
        assert dice(mask(coarse, organ), blocks) > 0.85


def test_a_thick_slice_is_the_mean_of_thin_ones_and_has_the_labels_of_its_middle() -> None:
    shape, x, y = (50, 40), -75.0, -60.0
    thick = phantom(7, (3.0, 3.0, 9.0), (*shape, 3), origin=(x, y, 6.0), scan=QUIET)
    thin = phantom(7, (3.0, 3.0, 3.0), (*shape, 9), origin=(x, y, 3.0), scan=QUIET)
    mean = thin.ct.array.reshape(*shape, 3, 3).mean(axis=3)
    assert np.abs(mean - thick.ct.array).mean() < 4
    for organ in ("liver", "kidney_right", "kidney_left", "vertebrae_L1"):
        assert dice(mask(thin, organ)[:, :, 1::3], mask(thick, organ)) > 0.98, organ


def test_a_voxel_between_two_tissues_has_a_value_between_theirs() -> None:
    made = phantom(7, 3.0, (20, 20, 6), origin=(50, -20, 20), phase="venous", scan=QUIET)
    bladder = phantom(7, 2.0, (60, 60, 4), origin=(-60, -20, -205), scan=QUIET)
    assert made.ct.array.max() < 400
    inside = bladder.ct.array[mask(bladder, "bladder")]
    assert 0 <= np.median(inside) <= 25


def test_contrast_fills_arteries_first_and_the_portal_vein_later() -> None:
    box = {"shape": (60, 40, 30), "origin": (-90, -60, -20)}
    means = {phase: {} for phase in ("none", "arterial", "venous")}
    for phase, found in means.items():
        made = phantom(7, 3.0, **box, phase=phase, scan=QUIET)
        found |= {organ: float(np.median(made.ct.array[mask(made, organ)])) for organ in ("aorta", "postcava", "kidney_right", "liver")}
    assert means["arterial"]["aorta"] > 200 > means["venous"]["aorta"] > 90 > means["none"]["aorta"]
    assert means["venous"]["liver"] > means["arterial"]["liver"] > means["none"]["liver"] - 5
    assert means["venous"]["kidney_right"] > 120 > means["none"]["kidney_right"]


def test_stones_can_be_asked_for() -> None:
    with_stones = phantom(7, 3.0, (50, 50, 34), origin=(0, 0, -50), stones=True, phase="none", scan=QUIET)
    without = phantom(7, 3.0, (50, 50, 34), origin=(0, 0, -50), stones=False, phase="none", scan=QUIET)
    assert with_stones.parameters["person"]["gallstones"] > 0 == without.parameters["person"]["gallstones"]
    assert with_stones.ct.array[mask(with_stones, "gall_bladder")].max() > without.ct.array[mask(without, "gall_bladder")].max() + 20


def test_the_noise_of_slices_differs_and_has_little_at_low_frequencies() -> None:
    clean = phantom(7, 2.0, (96, 96, 6), origin=(-96, -90, 40), scan=QUIET).ct.array.astype(float)
    noisy = phantom(7, 2.0, (96, 96, 6), origin=(-96, -90, 40), scan=ScanOptions(streaks=0, table=False)).ct.array
    noise = noisy - clean
    power = np.abs(np.fft.fft2(noise, axes=(0, 1))).mean(axis=2) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(96, 2.0), np.fft.fftfreq(96, 2.0)))
    low, middle = power[(frequency > 0) & (frequency < 0.03)].mean(), power[(frequency > 0.12) & (frequency < 0.2)].mean()
    assert middle > 1.5 * low
    assert not np.array_equal(noise[:, :, 0], noise[:, :, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 1, "spacing": 0.0},
        {"seed": 1, "spacing": float("nan")},
        {"seed": 1, "phase": "late"},
        {"seed": 1, "shape": (0, 4, 4)},
    ],
)
def test_what_cannot_be_is_refused_with_the_next_step(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError) as raised:
        phantom(**wrong)  # type: ignore[arg-type]
    assert raised.value.remedy
