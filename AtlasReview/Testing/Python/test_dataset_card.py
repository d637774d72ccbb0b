"""The card of a dataset: counts by source, volumes, ages, readers, models and licenses; names stay text."""

from __future__ import annotations

import html
import json
import re
import shutil
from datetime import datetime, timezone

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from AtlasReviewLib import commands_release
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_dataset import assembled_cases, manifests
from AtlasReviewLib.dataset_card import CardOptions, collect_card, write_card
from AtlasReviewLib.dataset_card_text import plain
from AtlasReviewLib.release_sums import check_sums
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.volume import Volume
from release_cases import AFFINE, LIVER, MODEL_SHA, SPLEEN, VOXEL_ML, box, make_case, write_mask

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Three cases: two livers revised by two readers, one case with original labels, one without a stomach."""
    tmp_path = tmp_path_factory.mktemp("made")
    out = tmp_path / "assembled"
    first, second = (make_case(tmp_path / "data" / "04_LiTS" / name) for name in ("one", "two"))
    third = make_case(tmp_path / "data" / "04_LiTS" / "three", {"liver": LIVER, "spleen": SPLEEN * 0})
    for case, reader, day in ((first, "Ada", 1), (second, "Ben", 11)):
        moment = datetime(2026, 11, day, tzinfo=timezone.utc)
        save_revision(case, "spleen", Volume(box((7, 9), (2, 5), (2, 5)), AFFINE), reader, now=lambda moment=moment: moment)
    write_mask(third.original_label, LIVER)
    for case in (first, second, third):
        assemble_case(case, out)
    return tmp_path


@pytest.fixture
def assembled(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "assembled"


def card_of(assembled, **options):
    return collect_card(manifests(assembled_cases(assembled)), CardOptions(**options), lambda: NOW)


def test_organs_are_counted_by_who_drew_them(assembled):
    card = card_of(assembled)
    assert card["cases"] == 3
    organs = {name: organ["sources"] for name, organ in card["organs"].items()}
    assert organs == {
        "liver": {"original": 1, "revised": 0, "predicted": 2},
        "spleen": {"original": 0, "revised": 2, "predicted": 1},
        "stomach": {"original": 0, "revised": 0, "predicted": 2},
    }
    assert card["organs"]["stomach"]["missing"] == 1
    assert card["organs"]["spleen"]["empty"] == 1
    assert card["organs"]["spleen"]["seen_by_nobody"] == 1
    assert "pancreas" in card["organs_in_no_case"]


def test_volumes_are_quartiles_as_numpy_gives_them(assembled):
    manifest = [m["organs"]["liver"]["voxels"] * VOXEL_ML for m in manifests(assembled_cases(assembled))]
    found = card_of(assembled)["organs"]["liver"]["volume_ml"]
    assert [found[name] for name in ("min", "q1", "median", "q3", "max")] == pytest.approx(
        np.percentile(manifest, [0, 25, 50, 75, 100]), abs=1e-3
    )


def test_ages_of_revisions_count_from_the_day_of_the_card(assembled):
    ages = card_of(assembled)["revisions"]
    assert ages["count"] == 2
    assert ages["oldest"] == {"date": "2026-11-01", "age_days": 20.0}
    assert ages["newest"] == {"date": "2026-11-11", "age_days": 10.0}


def test_models_have_hash_and_license_and_parts_without_a_license_say_so(assembled):
    card = card_of(assembled, licenses={"original 04": "CC BY-NC-SA 4.0", "ct": "=cmd"})
    assert card["models"] == [{"name": "unet", "version": "3", "sha256": MODEL_SHA, "license": "Apache-2.0", "cases": 3}]
    assert card["original_labels"] == [{"dataset": "04", "cases": 1, "license": "CC BY-NC-SA 4.0"}]
    assert card["licenses"] == {"dataset": "not stated", "ct": "=cmd"}


def test_anonymous_readers_appear_nowhere_in_the_card(assembled):
    named, anonymous = card_of(assembled), card_of(assembled, anonymous_readers=True)
    assert {reader["name"] for reader in named["readers"]} == {"Ada", "Ben"}
    assert {reader["name"] for reader in anonymous["readers"]} == {"reader 1", "reader 2"}
    text, _ = write_card(assembled, anonymous, "x")
    assert "Ada" not in text.read_text(encoding="utf-8") + (assembled / "dataset_card.json").read_text(encoding="utf-8")


def test_the_command_writes_card_and_sums_and_refuses_a_license_of_nothing(assembled):
    app = typer.Typer()
    app.callback()(lambda: None)
    commands_release.add_to(app)
    done = CliRunner().invoke(app, ["card", str(assembled), "--license", "dataset=CC BY 4.0", "--name", "Ours", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["licenses"]["dataset"] == "CC BY 4.0"
    licenses = ("--license", "original 05=CC0", "--license", "original 04=CC0")
    told = CliRunner().invoke(app, ["card", str(assembled), *licenses, "--name", "Ours"]).stderr
    assert "warning: --license 'original 05': the dataset has no such part" in told
    assert "original 04" not in told
    assert (assembled / "DATASET_CARD.md").read_text(encoding="utf-8").startswith("# Ours\n")
    assert check_sums(assembled).is_whole
    for text in ("CC BY 4.0", "liver=x", "dataset="):
        assert CliRunner().invoke(app, ["card", str(assembled), "--license", text]).exit_code != 0


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_a_hostile_name_is_one_cell_of_text(name):
    shown = plain(name)
    assert "\n" not in shown
    assert not re.search(r"<|&(?!amp;|lt;)", shown)
    assert not re.search(r"(?<!\\)(\\\\)*\|", shown)
    unescaped = html.unescape(re.sub(r"\\(.)", r"\1", shown))
    assert unescaped == " ".join("".join(c if c.isprintable() else " " for c in name).split())


def test_every_table_of_the_text_has_as_many_cells_as_columns(assembled):
    text, _ = write_card(assembled, card_of(assembled), "a|b\n# c")
    lines = text.read_text(encoding="utf-8").splitlines()
    assert lines[0] == r"# a\|b # c"
    tables = "\n".join(lines).split("\n\n")
    for table in tables:
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1
    assert any(line.startswith(r"| liver | 1 | 0 | 2 |") for line in lines)
