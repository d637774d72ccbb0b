"""MC dropout beside the other rankings: of the masks whose models left such maps, without taking masks away from the others."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from AtlasQualityLib.commands_quality import quality_app
from AtlasQualityLib.phantom_case import phantom_affine, phantom_ct, phantom_organ
from AtlasQualityLib.quality_evaluation import DROPOUT, RANKINGS, ScoredMask, rankings_of, with_dropout_maps
from AtlasSegmentLib.case_folder import MC_DROPOUT, CaseFolder
from AtlasSegmentLib.mc_dropout import DropoutPasses
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case
from AtlasSegmentLib.volume import Volume
from dropout_models import make_dropping_nnunet
from quality_random_model import write_plain_model

CLASSES = {"liver": 6, "spleen": 1}
ORGANS = ("liver", "spleen", "kidney_left")


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    """Return a case with a reference that two real networks segmented, one of them with dropout."""
    root = tmp_path_factory.mktemp("data")
    torch.set_num_threads(1)
    found = CaseFolder(root / "set" / "case")
    found.folder.mkdir(parents=True)
    write_nifti(found.ct, phantom_ct())
    truth = sum(phantom_organ(organ) * np.uint8(value) for organ, value in CLASSES.items())
    write_nifti(found.folder / "truth.nii.gz", Volume(np.asfortranarray(truth), phantom_affine()))
    for seed, name, passes in ((1, "dropping", DropoutPasses(2)), (2, "steady", DropoutPasses())):
        options = {"dataset": f"Dataset00{seed}_{name}", "labels": ORGANS, "seed": seed}
        folder = make_dropping_nnunet(root / "models", 0.3, (6.0, 5.0, 5.0), **options)
        segment_case(found, load_model(folder, device="cpu"), SegmentOptions(dropout=passes))
    return found


def evaluate(case: CaseFolder, quality: Path, *more: str) -> str:
    arguments = ["evaluate", str(case.folder), "--reference", "truth.nii.gz", "--table", "abdomenatlas", "--model", str(quality), *more]
    return CliRunner().invoke(quality_app(), arguments, catch_exceptions=False).stdout


def test_evaluate_ranks_by_mc_dropout_where_a_model_left_maps(case: CaseFolder, quality: Path, tmp_path: Path) -> None:
    told = json.loads(evaluate(case, quality, "--json", "--csv", str(tmp_path / "masks.csv")))
    assert tuple(told["rankings"]) == RANKINGS
    counts = {name: one["masks"] for name, one in told["rankings"].items()}
    assert counts == {"predicted Dice": 6, "entropy": 6, "inconsistency": 6, DROPOUT: 3, "random": 6}
    assert {name: one["masks"] for name, one in told["rankings_with_dropout_maps"].items()} == dict.fromkeys(RANKINGS, 3)
    for row in told["masks"]:
        if "steady" in row["masks"]:
            assert row["mc_dropout"] is None
            continue
        folder = case.backbone(row["masks"])
        found, mask = (read_nifti(path).array for path in (folder.map(MC_DROPOUT, row["organ"]), folder.mask(row["organ"])))
        assert row["mc_dropout"] == pytest.approx(float(found.sum(dtype=float)) / 255 / np.count_nonzero(mask))
        assert row["mc_dropout"] > 0
    assert (tmp_path / "masks.csv").read_text().splitlines()[0].endswith(",entropy,inconsistency,mc_dropout,empty")
    text = evaluate(case, quality)
    assert "Rankings against the true Dice" in text
    assert "The same, over masks with MC-dropout maps" in text
    assert text.count("MC dropout ") == 2


def masks(count: int, *, dropout: int = 0) -> list[ScoredMask]:
    """Return masks of which some have a number of MC dropout that orders them wrongly."""
    dice = np.linspace(0.5, 1, count)
    rows = [ScoredMask("a", "m", f"organ {n}", d, d, 0, entropy=1 - d, inconsistency=1 - d) for n, d in enumerate(dice.tolist())]
    return [replace(row, mc_dropout=row.dice) if number < dropout else row for number, row in enumerate(rows)]


def test_the_other_rankings_keep_all_their_masks() -> None:
    plain, some = rankings_of(masks(9)), rankings_of(masks(9, dropout=5))
    assert set(plain) == set(RANKINGS) - {DROPOUT}
    assert (some[DROPOUT].masks, some[DROPOUT].pearson) == (5, pytest.approx(-1))
    for name in ("predicted Dice", "entropy", "inconsistency"):
        assert some[name] == plain[name]
        assert (some[name].masks, some[name].pearson) == (9, pytest.approx(1))
    fair = rankings_of(with_dropout_maps(masks(9, dropout=5)))
    assert {one.masks for one in fair.values()} == {5}


def test_a_ranking_that_no_mask_has_takes_no_masks_away_from_the_others() -> None:
    alone = [replace(row, inconsistency=math.nan) for row in masks(6, dropout=6)]
    found = rankings_of(alone)
    assert {name: one.masks for name, one in found.items()} == {"predicted Dice": 6, "entropy": 6, DROPOUT: 6, "random": 6}
    one_less = [replace(alone[0], entropy=math.nan), *alone[1:]]
    assert {one.masks for one in rankings_of(one_less).values()} == {5}
