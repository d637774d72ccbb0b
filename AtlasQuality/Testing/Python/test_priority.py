"""Priority lists: which case and organ comes first, and the bytes of the files."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from AtlasQualityLib import commands
from AtlasQualityLib.attention import attention_folder
from AtlasQualityLib.priority import (
    ORDERS,
    CaseScores,
    OrganScore,
    possible_orders,
    prioritize,
    rank_agreement,
    read_scores,
    write_priority,
)
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import write_json


def score(organ: str, voxels: int, heat: int, error: float = 1.0, minutes: float = 1.0, dice: float = math.nan) -> OrganScore:
    return OrganScore("d", "c", organ, voxels, 2.0 * voxels, heat, error, minutes, error / minutes if minutes else 0.0, dice)


def scores(case: str, *organs: OrganScore, dataset: str = "d") -> CaseScores:
    return CaseScores(dataset, case, organs)


def names(cases: list) -> list[list[str]]:
    return [[found.case, *(organ.organ for organ in found.organs)] for found in cases]


# Three cases whose three orders all differ.
SMALL = scores(
    "small", score("liver", 10, 500, error=100, minutes=50), score("spleen", 20, 400, error=300, minutes=300), score("aorta", 0, 0)
)
LARGE = scores("large", score("liver", 50, 90, error=10, minutes=1))
NOTHING = scores("nothing", score("liver", 0, 0, error=0.0, minutes=0.0))
BARE = scores("bare")


def test_the_list_has_no_header_and_one_row_a_case_with_its_organs(tmp_path: Path) -> None:
    plain, _ = write_priority(tmp_path, "priority", prioritize([NOTHING, SMALL, BARE, LARGE], "abdomenatlas"))
    assert plain == tmp_path / "priority.csv"
    assert plain.read_bytes() == b"large,liver\nsmall,liver,spleen\nbare\nnothing\n"


def test_cases_go_by_attention_voxels_and_organs_by_heat_with_ties_by_name() -> None:
    tied = scores("b", score("spleen", 5, 7), score("liver", 5, 7), score("aorta", 0, 8))
    first = scores("a", score("liver", 10, 1))
    assert names(prioritize([tied, first], "abdomenatlas")) == [["a", "liver"], ["b", "aorta", "liver", "spleen"]]


def test_the_other_orders_go_by_expected_error_and_by_gain() -> None:
    cases = [LARGE, SMALL, NOTHING]
    assert names(prioritize(cases, "expected-error"))[:2] == [["small", "spleen", "liver", "aorta"], ["large", "liver"]]
    assert names(prioritize(cases, "gain"))[:2] == [["large", "liver"], ["small", "liver", "aorta", "spleen"]]
    assert names(prioritize(cases, "gain"))[2] == ["nothing"]
    assert prioritize([SMALL], "gain")[0].score == pytest.approx(401 / 351)


def test_the_scores_file_says_the_numbers_of_every_organ_in_the_list(tmp_path: Path) -> None:
    _, detailed = write_priority(tmp_path, "mine", prioritize([SMALL, NOTHING, LARGE], "abdomenatlas"))
    assert detailed == tmp_path / "mine_scores.csv"
    assert detailed.read_bytes() == (
        b"case_rank,organ_rank,dataset,case,organ,attention_voxels,attention_mm3,heat_sum,"
        b"expected_error_mm3,minutes_to_correct,gain_mm3_per_minute,predicted_dice\n"
        b"1,1,d,c,liver,50,100.0,90,10,1,10.0,\n"
        b"2,1,d,c,liver,10,20.0,500,100,50,2.0,\n"
        b"2,2,d,c,spleen,20,40.0,400,300,300,1.0,\n"
    )


def test_the_order_by_predicted_dice_begins_with_the_worst_and_leaves_empty_masks_out() -> None:
    good = scores("good", score("liver", 1, 1, dice=0.9), score("spleen", 1, 1, dice=0.8))
    cases = [good, scores("bad", score("liver", 1, 1, dice=0.7), score("aorta", 0, 0))]
    assert names(prioritize(cases, "predicted-dice")) == [["bad", "liver"], ["good", "spleen", "liver"]]
    with pytest.raises(AtlasError, match=r"liver has no predicted Dice.*atlas quality predict"):
        prioritize([SMALL], "predicted-dice")
    assert "predicted-dice" in possible_orders(cases)
    assert "predicted-dice" not in possible_orders([SMALL])


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20), min_size=1, max_size=5, unique=True)
)
def test_any_name_survives_the_file(tmp_path_factory: pytest.TempPathFactory, cases: list[str]) -> None:
    folder = tmp_path_factory.mktemp("list")
    found = prioritize([scores(case, score('organ, "of" Müller', 1, 1)) for case in cases], "abdomenatlas")
    plain, _ = write_priority(folder, "priority", found)
    with plain.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [[case, 'organ, "of" Müller'] for case in sorted(cases)]


@given(st.randoms(use_true_random=False))
def test_the_list_does_not_depend_on_the_order_of_the_input(shuffler: random.Random) -> None:
    cases = [
        scores(f"c{i}", *(score(o, i % 3, i % 2, dice=0.5) for o in ("liver", "spleen", "aorta")), dataset=f"d{i % 2}") for i in range(9)
    ]
    shuffled = [CaseScores(c.dataset, c.case, tuple(shuffler.sample(c.organs, 3))) for c in shuffler.sample(cases, 9)]
    for order in ORDERS:
        assert prioritize(shuffled, order) == prioritize(cases, order)


def test_an_order_that_needs_expected_errors_says_where_they_are_missing() -> None:
    bare = scores("c", OrganScore("d", "c", "liver", 5, 10.0, 7))
    assert names(prioritize([bare], "abdomenatlas")) == [["c", "liver"]]
    for order in ("expected-error", "gain"):
        with pytest.raises(AtlasError, match=r"d/c: liver has no expected error.*--force"):
            prioritize([bare], order)


def test_a_name_that_leads_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        write_priority(tmp_path / "set", "../priority", [])
    assert not list(tmp_path.rglob("*.csv"))


def test_scores_are_read_from_the_record_of_the_attention_step(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path / "set" / "case")
    numbers = {"attention_voxels": 3, "attention_mm3": 6.0, "heat_sum": 9, "overlap_voxels": 1}
    write_json(attention_folder(case).run_record, {"results": {"organs": {"liver": numbers}}})
    found = read_scores(case)
    assert (found.dataset, found.case) == ("set", "case")
    assert found.organs[0].heat_sum == 9
    assert math.isnan(found.organs[0].gain_mm3_per_minute)


@pytest.mark.parametrize("record", [{}, [], {"results": {"organs": {"liver": {}}}}, {"results": {"organs": [1]}}, {"results": 3}])
def test_a_record_of_something_else_is_said(tmp_path: Path, record: object) -> None:
    case = CaseFolder(tmp_path)
    write_json(attention_folder(case).run_record, record)
    with pytest.raises(DatasetError, match=r"run.json: is not the record of an attention step"):
        read_scores(case)


def test_a_case_without_attention_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no attention yet.*atlas attention"):
        read_scores(CaseFolder(tmp_path))


def predicted_case(folder: Path, dice: dict[str, float | None]) -> CaseFolder:
    case = CaseFolder(folder)
    known = {organ: value for organ, value in dice.items() if value is not None}
    write_json(case.average.predicted_dice, {"organs": known, "details": {organ: {"dice": value} for organ, value in dice.items()}})
    return case


def test_the_order_by_predicted_dice_needs_no_attention_and_takes_every_organ_that_has_one(tmp_path: Path) -> None:
    case = predicted_case(tmp_path / "set" / "case", {"liver": 0.9, "spleen": 0.4, "aorta": 1.0, "pancreas": None})
    found = read_scores(case, "predicted-dice")
    assert names(prioritize([found], "predicted-dice")) == [["case", "spleen", "liver", "aorta"]]
    assert all(math.isnan(organ.attention_voxels) and math.isnan(organ.heat_sum) for organ in found.organs)
    _, detailed = write_priority(tmp_path, "mine", prioritize([found], "predicted-dice"))
    assert detailed.read_text().splitlines()[1] == "1,1,set,case,spleen,,,,,,,0.4"
    numbers = {"attention_voxels": 3, "attention_mm3": 6.0, "heat_sum": 9}
    write_json(attention_folder(case).run_record, {"results": {"organs": {"liver": numbers}}})
    known = {organ.organ: organ.attention_voxels for organ in read_scores(case, "predicted-dice").organs}
    assert known["liver"] == 3
    assert math.isnan(known["spleen"])


def test_a_case_whose_quality_was_not_predicted_says_what_to_run_with_its_path(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path / "my set" / "case")
    with pytest.raises(DatasetError, match=rf"was not predicted.*Run: atlas quality predict '{case.folder}'"):
        read_scores(case, "predicted-dice")
    write_json(case.average.predicted_dice, [])
    with pytest.raises(DatasetError, match=r"is not what atlas quality predict writes.*--force"):
        read_scores(case, "predicted-dice")


def test_the_command_ranks_masks_from_one_on_the_worst_first(tmp_path: Path) -> None:
    for name, dice in (("a", {"liver": 0.9, "spleen": 0.2}), ("b", {"liver": 0.6})):
        (predicted_case(tmp_path / name, dice).folder / "backbones").mkdir()
    app = typer.Typer()
    commands.add_to(app)
    result = CliRunner().invoke(app, ["priority", str(tmp_path), "--order", "predicted-dice"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in result.output.splitlines() if line.startswith("│")]
    assert [row[:4] for row in rows] == [["1", "a", "spleen", "0.200"], ["2", "b", "liver", "0.600"], ["3", "a", "liver", "0.900"]]
    assert "predicted Dice" in result.output


def test_agreement_of_the_orders_is_spearmans_rank_correlation() -> None:
    cases = [scores("a", *(score(f"o{i}", i, i, error=i, minutes=1 + i * i) for i in range(1, 6)))]
    found = rank_agreement(cases)
    assert found["abdomenatlas / expected-error"] == pytest.approx(1)
    assert found["abdomenatlas / gain"] == pytest.approx(-1)
    assert all(math.isnan(value) for value in rank_agreement([LARGE, BARE]).values())
    assert all(math.isnan(value) for value in rank_agreement([scores("c", *[OrganScore("d", "c", "o", 1, 1.0, 1)] * 4)]).values())
