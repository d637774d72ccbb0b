"""Puts the trained label-quality model into the program, with the figures of both folds in its card.

    python Testing/Benchmarks/quality_shipped.py WORK [--to FOLDER]

WORK holds what `quality_training.py WORK --fold torso` and `--fold slab` made. What ships is trained on torso-3mm and phantoms; its card
says how it does on slab-dicom, which it never saw, how the network of the other fold does on torso-3mm, both together for the
predictions of the three real networks, and how it judges new damage of the CT that it was trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from AtlasQualityLib.quality_calibration import score_agreement
from AtlasQualityLib.quality_embedding import text_embedding
from AtlasQualityLib.quality_manifest import FILE, ONNX, SAFETENSORS, read_manifest, write_manifest
from AtlasQualityLib.quality_model import SHIPPED, load_network
from AtlasQualityLib.quality_pairs import MODEL, PairOptions
from AtlasQualityLib.quality_pairs_find import find_pairs
from AtlasQualityLib.quality_pairs_names import KINDS
from AtlasQualityLib.quality_pairs_store import build_pairs, read_pairs, scores_of_masks
from AtlasQualityLib.quality_settings import SETTINGS, settings_sha256
from AtlasQualityLib.quality_training import slice_scores
from AtlasQualityLib.quality_training_figures import wrong_names

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent)]

from quality_training import REAL  # noqa: E402

TRAINED, OTHER = "torso", "slab"
ANOTHER_SEED = 1000
USE = "Ranks masks for review; trained on one CT of a person and on phantoms. For demonstration only, not for clinical use."


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the held-out masks of a training that belong to the test."""
    with (folder / "training" / "masks.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["part"] == "test"]


def agreement(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Return how predicted and true Dice of such masks agree."""
    predicted, true = ([float(row[name]) for row in rows] for name in ("predicted_dice", "true_dice"))
    found = score_agreement(predicted, true, [row["case"] for row in rows])
    return rounded(found.to_json())


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with four digits."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def unseen_damage(work: Path, model: Path) -> dict[str, Any]:
    """Return how new damage, of another seed, of the CT that was trained on is judged."""
    place = work / TRAINED / "again" / "test"
    place.mkdir(parents=True, exist_ok=True)
    link = place / REAL[TRAINED]
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(work / "cases" / REAL[TRAINED], place), target_is_directory=True)
    manifest = read_manifest(model)
    options = replace(PairOptions(manifest.slices.rule, 6), seed=ANOTHER_SEED)
    cases = find_pairs([place.parent], None)
    build_pairs(cases, work / "examples-again", options, jobs=2)
    pairs = read_pairs(work / "examples-again", cases)
    network, numbers = load_network(model / SAFETENSORS, manifest).eval(), pairs.slices_of("test")
    scores = scores_of_masks(pairs, pairs.masks_of("test"), slice_scores(network, pairs, numbers, text_embedding), numbers)
    predicted = manifest.calibration(scores)
    chosen = [number for number, mask in enumerate(pairs.masks) if not mask.source.startswith(MODEL) and mask.source not in KINDS]
    found = score_agreement(predicted[chosen], [pairs.masks[n].dice for n in chosen], [pairs.masks[n].case for n in chosen])
    wrong = [number for number, mask in enumerate(pairs.masks) if mask.source in KINDS]
    return {**rounded(found.to_json()), "wrong_names": wrong_names(predicted[wrong], [pairs.masks[n].dice for n in wrong])}


def main() -> int:
    """Copy the model and write its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "Resources" / "Models" / SHIPPED)
    given = parser.parse_args()
    source, other = (given.work / fold / SHIPPED for fold in (TRAINED, OTHER))
    rows, others = rows_of(source), rows_of(other)
    real = [row for row in [*rows, *others] if row["source"].startswith(MODEL)]
    card = {
        "trained_on": f"{REAL[TRAINED]} (a network's labels, Apache-2.0) with noise added, and phantoms",
        "tested_on": f"{REAL[OTHER]}, never seen; its labels are a network's own, so that true Dice is agreement with that",
        "other_fold": {
            "what": f"trained on {REAL[OTHER]}, tested on {REAL[TRAINED]}; does not ship",
            **{kind: found for kind, found in read_manifest(other).card["test"].items() if kind != "note"},
        },
        "real_predictions_of_both_folds": agreement(real),
        "new_damage_of_the_training_ct": unseen_damage(given.work, source),
        "use": USE,
    }
    given.to.mkdir(parents=True, exist_ok=True)
    for name in (ONNX, SAFETENSORS, FILE):
        shutil.copyfile(source / name, given.to / name)
    manifest = read_manifest(source)
    sums = {**manifest.sha256, SETTINGS: settings_sha256(manifest)}
    write_manifest(given.to, manifest.model_copy(update={"sha256": sums, "card": {**manifest.card, **card}}))
    print(json.dumps(read_manifest(given.to).card, indent=1))
    print(f"{given.to}: {sum(path.stat().st_size for path in given.to.iterdir()) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
