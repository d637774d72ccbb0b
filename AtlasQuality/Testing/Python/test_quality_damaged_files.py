"""Files of the predicted label quality that were damaged or edited: made again where that is possible, else named with the next step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib import tasks
from AtlasQualityLib.phantom_case import write_phantom_case
from AtlasQualityLib.quality_pairs import PairOptions
from AtlasQualityLib.quality_pairs_find import PairSource, find_pairs
from AtlasQualityLib.quality_pairs_store import build_pairs, case_folder_of, is_built, read_pairs
from AtlasQualityLib.quality_slices import SliceRule
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from quality_program import run
from quality_random_model import write_plain_model
from quality_toys import write_toy_case

OPTIONS = PairOptions(SliceRule(size=32), damages=0, slices=3, absent=0, misnamed=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, model: Path) -> CaseFolder:
    case = write_phantom_case(tmp_path_factory.mktemp("data") / "patient")
    tasks.average_files(str(case.folder))
    run("predict", case.folder, "--model", model)
    return case


@pytest.fixture
def case(predicted: CaseFolder, tmp_path: Path) -> CaseFolder:
    """Return a case of which everything was predicted, to be damaged."""
    return CaseFolder(Path(shutil.copytree(predicted.folder, tmp_path / "patient")))


def of_liver(case: CaseFolder, **said: Any) -> str:
    """Return the prediction with something else said of the liver."""
    content = json.loads(case.average.predicted_dice.read_text(encoding="utf-8"))
    content["details"]["liver"] |= said
    return json.dumps(content)


def test_a_damaged_prediction_is_predicted_again(case: CaseFolder, model: Path) -> None:
    path = case.average.predicted_dice
    whole = path.read_bytes()
    for damage in ("[]", "null", "{half", of_liver(case, dice=float("nan")), of_liver(case, dice=0.5), of_liver(case, slices=[])):
        path.write_text(damage)
        assert json.loads(run("predict", case.folder, "--model", model, "--json"))["done"] == 1, damage
        assert path.read_bytes() == whole
    assert json.loads(run("predict", case.folder, "--model", model, "--json"))["skipped"] == 1


def test_a_record_without_results_is_predicted_again(case: CaseFolder, model: Path) -> None:
    record = case.average.folder / "quality" / "run.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "results": None}))
    assert json.loads(run("predict", case.folder, "--model", model, "--json"))["done"] == 1


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"worst_slice": 99999}, "its worst slice 99999 is none of those looked at"),
        ({"slices": []}, "or none of them"),
        ({"worst_slice": None}, "or none of them"),
        ({"worst_slice": -1, "slices": [{"index": -1, "score": 0.5, "has_mask": True}]}, "below 0"),
        ({"worst_slice": 99999, "slices": [{"index": 99999, "score": 0.5, "has_mask": True}]}, "slice 99999 of liver is not in the CT"),
        ({"dice": float("nan")}, "not finite"),
        ({"spread": float("inf")}, "not finite"),
        ({"dice": 7}, "its predicted Dice is 7"),
        ({"worst_slice": float("inf")}, "is not what atlas quality predict writes"),
    ],
)
def test_the_report_names_a_prediction_that_cannot_be(case: CaseFolder, tmp_path: Path, said: dict[str, Any], cause: str) -> None:
    case.average.predicted_dice.write_text(of_liver(case, **said))
    with pytest.raises(DatasetError, match=cause) as caught:
        run("report", case.folder, "--out", tmp_path / "q.html")
    assert str(case.average.predicted_dice) in caught.value.message
    assert "atlas quality predict --force" in caught.value.remedy
    assert not (tmp_path / "q.html").exists()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return find_pairs([write_toy_case(tmp_path_factory.mktemp("data") / "toy", shape=(48, 44, 12))], "abdomenatlas")[0]


@pytest.fixture(scope="module")
def built(source: PairSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    build_pairs([source], folder, OPTIONS)
    return folder


@pytest.fixture
def examples(built: Path, tmp_path: Path) -> Path:
    """Return the examples of one case, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "examples"))


def record_with(place: Path, **said: Any) -> bytes:
    content = json.loads((place / "masks.json").read_text(encoding="utf-8"))
    content["masks"][0] |= said
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"[]",
        lambda _: b"null",
        lambda place: (place / "masks.json").read_bytes()[:40],
        lambda _: b"\xff\xfe",
        lambda place: record_with(place, mood="good"),
        lambda place: record_with(place, count="3"),
        lambda place: record_with(place, part="exam"),
        lambda place: record_with(place, first=1),
        lambda place: record_with(place, dice=float("nan")),
    ],
)
def test_examples_with_a_damaged_list_of_masks_are_not_built_and_made_again(
    examples: Path, source: PairSource, damage: Callable[[Path], bytes]
) -> None:
    path = case_folder_of(examples, source) / "masks.json"
    whole = path.read_bytes()
    path.write_bytes(damage(path.parent))
    assert not is_built(examples, source, OPTIONS)
    with pytest.raises(InputError):
        read_pairs(examples, [source])
    assert build_pairs([source], examples, OPTIONS)[0].state == "done"
    assert path.read_bytes() == whole
    assert len(read_pairs(examples, [source]))


@pytest.mark.parametrize("name", ["slices.npz", "images.npy"])
def test_damaged_arrays_of_examples_are_told_with_their_folder(examples: Path, source: PairSource, name: str) -> None:
    place = case_folder_of(examples, source)
    whole = (place / name).read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 0xFF
    other = (place / ("images.npy" if name == "slices.npz" else "slices.npz")).read_bytes()
    cuts = [whole[:size] for size in (0, 1, 10, 60, len(whole) // 2, len(whole) - 30)]
    worse = bytes(changed) if name == "slices.npz" else whole.replace(b"}", b" ", 1)
    for damage in (*cuts, other, worse):
        (place / name).write_bytes(damage)
        with pytest.raises(InputError, match="the examples are damaged") as caught:
            read_pairs(examples, [source])
        assert str(place) in caught.value.message
        assert caught.value.remedy == "Remove this folder; it is made again."


def test_slices_of_other_masks_are_told(examples: Path, source: PairSource) -> None:
    path = case_folder_of(examples, source) / "slices.npz"
    with np.load(path) as file:
        columns = dict(file)
    np.savez(path, **{**columns, "mask": columns["mask"][::-1]})
    with pytest.raises(InputError, match="not of the same masks"):
        read_pairs(examples, [source])
