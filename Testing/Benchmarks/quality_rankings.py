"""Rankings of masks held against their true Dice, and what each costs, on the real networks' predictions for two real CTs.

    python Testing/Benchmarks/quality_rankings.py [--model FOLDER] [--dropout-model FOLDER] [--dropout-passes 10] [--shared ../shared]

The masks are those of three real networks and of their average. The rankings: predicted Dice (a look at CT and mask), entropy (total
over the mask, by voxel), inconsistency (disagreement with the other networks' masks), and chance. MC dropout, which the publication
compares too, needs networks with dropout, and these have none: --dropout-model names a fourth one that has, which then segments both CTs
with passes; its masks are ranked beside the others', and all rankings are shown over its masks alone as well. Seconds and peak memory
are those of a fresh process that reads what it needs from the case folder and ranks, or, for MC dropout, segments with passes first;
"disk" is what must lie there beside the CT and the masks themselves. The reference labels are another network's predictions: "true" is
agreement with that network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "Benchmarks")]

from measured import measure  # noqa: E402
from torso_accuracy import SLAB_ROI  # noqa: E402

from AtlasQualityLib.attention import AttentionOptions, attention_case  # noqa: E402
from AtlasQualityLib.average import average_case  # noqa: E402
from AtlasQualityLib.mask_set import masks_of_case  # noqa: E402
from AtlasQualityLib.quality_evaluation import (  # noqa: E402
    DROPOUT,
    RANKINGS,
    agreement_of,
    rankings_of,
    scored_masks,
    sparse_dice,
    with_dropout_maps,
)
from AtlasQualityLib.quality_model import open_quality_model, shipped_model  # noqa: E402
from AtlasQualityLib.quality_predict import predict_quality  # noqa: E402
from AtlasSegmentLib.case_folder import MC_DROPOUT, CaseFolder  # noqa: E402
from AtlasSegmentLib.files import read_json  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.markups import Roi, read_roi  # noqa: E402
from AtlasSegmentLib.mc_dropout import DropoutPasses  # noqa: E402
from AtlasSegmentLib.model import load_model  # noqa: E402
from AtlasSegmentLib.segment_case import SegmentOptions  # noqa: E402
from AtlasSegmentLib.segment_request import SegmentRequest, segment  # noqa: E402
from AtlasSegmentLib.sparse import read_sparse  # noqa: E402
from AtlasSegmentLib.volume_io import read_label_volume, read_volume  # noqa: E402

FOLDS = (1, 2, 3)
NO_DROPOUT = "these networks have none (--dropout-model FOLDER takes one that has)"


def make_cases(work: Path, shared: Path) -> dict[str, CaseFolder]:
    """Segment both CTs with the three networks, average, and find the attention."""
    models = tuple(shared / f"models/abdomen-unet-fold{fold}" for fold in FOLDS)
    torso = shared / "data/torso-3mm"
    found = {}
    for name, source in (("torso-3mm", torso / "ct.nii.gz"), ("slab-dicom", shared / "data/slab-dicom/dicom")):
        case = CaseFolder(work / "real" / name)
        segment(SegmentRequest(case, source, models, SegmentOptions(roi=region(shared, name))))
        average_case(case)
        attention_case(case, AttentionOptions(all_organs=True))
        found[name] = case
    return found


def region(shared: Path, name: str) -> Roi:
    """Return the region that the networks look at."""
    return read_roi(shared / "data/torso-3mm/abdomen_roi.mrk.json") if name == "torso-3mm" else SLAB_ROI


def by_dropout(case: str, shared: str, model: str, passes: int) -> dict[str, float]:
    """Segment a case with passes, and rank the masks by the maps of these."""
    folder = CaseFolder(Path(case))
    options = SegmentOptions(roi=region(Path(shared), folder.name), dropout=DropoutPasses(passes))
    segment(SegmentRequest(folder, folder.ct, (Path(model),), options))
    return by_maps(case, MC_DROPOUT)


def by_predicted_dice(case: str, model: str) -> dict[str, float]:
    """Rank the masks of the networks by predicted Dice."""
    folder, opened = CaseFolder(Path(case)), open_quality_model(Path(model), threads=2)
    ct = read_volume(folder.ct)
    found = {name: predict_quality(ct, masks_of_case(folder, name), opened) for name in folder.models()}
    return {f"{name}/{organ}": one.dice for name, organs in found.items() for organ, one in organs.items()}


def by_maps(case: str, kind: str) -> dict[str, float]:
    """Rank them by their entropy maps, or by those of MC dropout."""
    folder, found = CaseFolder(Path(case)), {}
    for name in folder.models():
        for organ in folder.backbone(name).organs(kind):
            size = int(np.count_nonzero(read_sparse(folder.backbone(name).mask(organ)).crop))
            total = float(read_sparse(folder.backbone(name).map(kind, organ)).crop.sum(dtype=np.float64)) / 255
            found[f"{name}/{organ}"] = -total / size if size else 0.0
    return found


def by_inconsistency(case: str) -> dict[str, float]:
    """Rank them by their agreement with each other."""
    folder, found = CaseFolder(Path(case)), {}
    sets = {name: masks_of_case(folder, name) for name in folder.models()}
    for name, masks in sets.items():
        for organ, mask in masks.masks.items():
            others = [sparse_dice(mask, other.masks[organ]) for key, other in sets.items() if key != name]
            found[f"{name}/{organ}"] = float(np.nanmean(others)) if np.isfinite(others).any() else 0.0
    return found


def stored(case: CaseFolder, kinds: tuple[str, ...]) -> float:
    """Return MB of the maps of some kinds that a ranking needs."""
    files = [path for name in case.models() for kind in kinds for path in (case.backbone(name).folder / kind).glob("*.nii.gz")]
    return sum(path.stat().st_size for path in files) / 1e6


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--model", type=Path, help="label-quality model; the one that comes along by default")
    parser.add_argument("--dropout-model", type=Path, help="segmentation model with dropout layers; the three networks have none")
    parser.add_argument("--dropout-passes", type=int, default=10)
    chosen = parser.parse_args()
    model = (chosen.model or shipped_model()).absolute()
    rows: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="atlas-rankings-") as work:
        cases = make_cases(Path(work), chosen.shared)
        dropped = {name: run_dropout(case, chosen) for name, case in cases.items()} if chosen.dropout_model else {}
        for name, case in cases.items():
            labels = read_label_volume(
                chosen.shared / "data" / name / "reference_label.nii.gz", load_table("totalsegmentator_v2"), read_volume(case.ct).grid
            )
            own = scored_masks(case, labels, open_quality_model(model))
            rows += own
            show(name, own)
        show("both", rows)
        print(f"\ncost of ranking the masks of {len(cases['torso-3mm'].models())} networks on torso-3mm (fresh process, reading included)")
        case = cases["torso-3mm"]
        for name, run, kinds in (
            ("predicted Dice", (by_predicted_dice, str(case.folder), str(model)), ()),
            ("entropy", (by_maps, str(case.folder), "entropy"), ("entropy",)),
            ("inconsistency", (by_inconsistency, str(case.folder)), ()),
        ):
            cost = measure(*run)
            print(f"  {name:16} {cost.seconds:6.2f} s  {cost.peak_gb:5.2f} GB  {stored(case, kinds):6.2f} MB of maps")
        print(f"  {DROPOUT:16} {dropped.get('torso-3mm', NO_DROPOUT)}")
    return 0


def run_dropout(case: CaseFolder, chosen: argparse.Namespace) -> str:
    """Segment a case with the model that has dropout, and return what that cost."""
    model, passes = chosen.dropout_model.absolute(), chosen.dropout_passes
    cost = measure(by_dropout, str(case.folder), str(chosen.shared), str(model), passes)
    taken = read_json(case.backbone(load_model(model).spec.name).run_record)["results"]["mc_dropout"]["seconds"]
    made = f"one model segmented with {passes} passes, {taken:.2f} s of that the passes"
    return f"{cost.seconds:6.2f} s  {cost.peak_gb:5.2f} GB  {stored(case, (MC_DROPOUT,)):6.2f} MB of maps ({made})"


def show(name: str, rows: list[Any]) -> None:
    """Print how predicted and true Dice agree, and the rankings."""
    print(f"\n{name}")
    for row in sorted(rows, key=lambda one: (one.organ, one.masks)):
        print(f"  {row.case:11} {row.masks:20} {row.organ:14} predicted {row.predicted:.3f}  true {row.dice:.3f}")
    one = agreement_of(rows)
    print(f"  Pearson {one.pearson:.3f} ({one.low:.3f} to {one.high:.3f}, {one.interval})")
    show_rankings(rankings_of(rows))
    if with_dropout_maps(rows):
        print("  over the masks with MC-dropout maps:")
        show_rankings(rankings_of(with_dropout_maps(rows)))


def show_rankings(found: dict[str, Any]) -> None:
    """Print how each ranking agrees with the true Dice."""
    for name in RANKINGS:
        if name in found:
            print(f"  {name:16} Pearson {found[name].pearson:6.3f}  Spearman {found[name].spearman:6.3f}  ({found[name].masks} masks)")
        elif name == DROPOUT:
            print(f"  {name:16} {NO_DROPOUT}")


if __name__ == "__main__":
    sys.exit(main())
