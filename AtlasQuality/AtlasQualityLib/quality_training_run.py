"""From folders with references to a label-quality model: examples, training, calibration on held-out cases, the model folder."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasQualityLib.quality_calibration import fit_curve
from AtlasQualityLib.quality_embedding import Embedding, text_embedding
from AtlasQualityLib.quality_embedding_files import read_embeddings, write_embeddings
from AtlasQualityLib.quality_estimate import SLICES
from AtlasQualityLib.quality_manifest import EMBEDDINGS, Curve, QualityManifest, Slices
from AtlasQualityLib.quality_pairs import PairOptions
from AtlasQualityLib.quality_pairs_find import PairSource, Part, find_pairs, split_by_case
from AtlasQualityLib.quality_pairs_store import PairSet, build_pairs, is_built, read_pairs, scores_of_masks
from AtlasQualityLib.quality_training import TrainingOptions, slice_scores, train_network
from AtlasQualityLib.quality_training_cts import training_cts
from AtlasQualityLib.quality_training_export import export_model
from AtlasQualityLib.quality_training_figures import data_facts, figures_of, mask_table
from AtlasQualityLib.quality_training_ranks import Ranks, open_ranks
from AtlasQualityLib.quality_training_start import claim, whole_card
from AtlasQualityLib.quality_training_state import Progress
from AtlasSegmentLib.cases import CaseOutcome
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import write_text
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress, part_of

if TYPE_CHECKING:
    from torch import nn

TRAINING, PAIRS = "training", "examples"
_BUILD_SHARE = 0.3  # of the progress
_PACKAGES = ("torch", "numpy", "scipy")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """A whole training.

    Attributes:
        pairs: How examples are made.
        training: How the network is trained.
        table: Label table of the references, in place of what lies beside each.
        validation, test: Shares of the cases that are held out, where folders do not say it.
        embeddings: .npz of text embeddings in place of the built-in one.
        examples: Folder of the examples, which several trainings may share; inside the model folder by default.
        device: Where it is trained.
        jobs: Cases whose examples are made side by side.
        scheduler: Dask scheduler for them instead.
        resume: Go on with what was stopped.
    """

    pairs: PairOptions = field(default_factory=PairOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    table: str | None = None
    validation: float = 0.15
    test: float = 0.15
    embeddings: Path | None = None
    examples: Path | None = None
    device: Device = "auto"
    jobs: int = 1
    scheduler: str | None = None
    resume: bool = False


@dataclass(frozen=True)
class RunResult:
    """What a training gave.

    Attributes:
        folder: The model folder.
        card: As in its quality.json.
        failed: Cases whose examples could not be made.
        finished_before: Everything was there already, so nothing was done.
    """

    folder: Path
    card: dict[str, Any]
    failed: tuple[CaseOutcome, ...]
    finished_before: bool = False


def train_quality(
    data: Sequence[str | Path], out: Path, options: RunOptions, progress: ProgressCallback = ignore_progress
) -> RunResult | None:
    """Train a model on folders with references and write its folder.

    Args:
        data: See `quality_pairs_find.find_pairs`. Of a training that was finished before, `options.resume` changes nothing.
        out: The model folder; `training` in it keeps checkpoint, curves and the predicted Dice of each held-out mask.
        options: What and how.
        progress: Told the finished share and the stage.

    Returns:
        None in all processes of torchrun but the first.

    Raises:
        InputError: No reference, too few cases, a training was started in `out` before; see `train_network`.
        ModelError, StorageError: As there.
    """
    safe_name(out.absolute().name, "name of a quality model")
    embedding: Embedding = read_embeddings(options.embeddings) if options.embeddings else text_embedding
    with open_ranks(options.device) as ranks:
        cases, failed = _cases(data, out, options, ranks, part_of(progress, 0.0, _BUILD_SHARE))
        pairs = read_pairs(_examples(out, options), cases)
        _check_names(pairs, embedding)
        steps: list[float] = []
        network, done = train_network(
            pairs,
            out / TRAINING,
            options.training,
            ranks,
            embedding=embedding,
            resume=options.resume,
            progress=_noting(steps, part_of(progress, _BUILD_SHARE, 0.98)),
        )
        if not ranks.is_first:
            return None
        if not steps and (card := whole_card(out)) is not None:
            return RunResult(out, card, failed, finished_before=True)
        progress(0.98, "calibrate and export")
        card = _finish(_Trained(network, done, pairs, embedding, len(cases)), out, options)
    progress(1.0, "done")
    return RunResult(out, card, failed)


def _noting(steps: list[float], progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that also keeps what it is told."""

    def tell(share: float, text: str) -> None:
        steps.append(share)
        progress(share, text)

    return tell


def _examples(out: Path, options: RunOptions) -> Path:
    return options.examples or out / TRAINING / PAIRS


def _cases(
    data: Sequence[str | Path], out: Path, options: RunOptions, ranks: Ranks, progress: ProgressCallback
) -> tuple[list[PairSource], tuple[CaseOutcome, ...]]:
    """Make the examples, in the first process, and return the cases that have some."""
    cases = split_by_case(find_pairs(data, options.table), options.training.seed, options.validation, options.test)
    claim(out / TRAINING, ranks, resume=options.resume)
    failed: tuple[CaseOutcome, ...] = ()
    folder = _examples(out, options)
    if ranks.is_first:
        outcomes = build_pairs(cases, folder, options.pairs, jobs=options.jobs, scheduler=options.scheduler, progress=progress)
        failed = tuple(outcome for outcome in outcomes if outcome.state == "failed")
        for outcome in failed:
            _log.error("%s: no examples could be made of it: %s %s", outcome.name, outcome.error, outcome.remedy)
    ranks.wait()
    built = [case for case in cases if is_built(folder, case, options.pairs)]
    _require_parts(cases, built, failed)
    return built, failed


def _require_parts(cases: list[PairSource], built: list[PairSource], failed: tuple[CaseOutcome, ...]) -> None:
    """Say which cases are missing where those that failed leave nothing to train or to validate with. Raises InputError."""
    wanted, there = {case.part for case in cases}, {case.part for case in built}
    missing = [purpose for part, purpose in (("train", "train"), ("val", "validate")) if part in wanted and part not in there]
    if built and not missing:
        return
    first = failed[0] if failed else None
    why = f"; {first.name}: {first.error}" if first else "."
    if built:
        message = f"{len(failed)} of {len(cases)} cases failed, and no other one is there to {' or '.join(missing)} with{why}"
        raise InputError(message, "Mend or leave out these cases, or choose another --seed or --validation.")
    message = f"no examples could be made of any of {len(cases)} cases{why}"
    raise InputError(message, first.remedy if first else "Run the command again.")


def _check_names(pairs: PairSet, embedding: Embedding) -> None:
    """Ask for every organ's embedding before the work. Raises InputError."""
    for organ in sorted({mask.organ for mask in pairs.masks}):
        embedding(organ)


@dataclass(frozen=True)
class _Trained:
    """A network and what it was trained with."""

    network: nn.Module
    done: Progress
    pairs: PairSet
    embedding: Embedding
    cases: int

    def scores(self, part: Part) -> np.ndarray[Any, Any]:
        """Return the scores of the masks of a part."""
        numbers = self.pairs.slices_of(part)
        slices = slice_scores(self.network, self.pairs, numbers, self.embedding)
        return scores_of_masks(self.pairs, self.pairs.masks_of(part), slices, numbers)


def _finish(trained: _Trained, out: Path, options: RunOptions) -> dict[str, Any]:
    """Calibrate on validation, measure, and write the model folder; return its card."""
    pairs = trained.pairs
    scores: dict[Part, np.ndarray[Any, Any]] = {"val": trained.scores("val"), "test": trained.scores("test")}
    truth = [pairs.masks[mask].dice for mask in pairs.masks_of("val")]
    try:
        curve = fit_curve(scores["val"], truth, "held-out validation masks")
    except AtlasError as error:
        _log.warning("The scores are not calibrated: %s", error)
        curve = Curve(source="none: too few masks were held out")
    card = {
        "made_with": "atlas quality train",
        "data": data_facts(pairs, trained.cases),
        "recipe": _recipe(options, trained.done),
        "validation": figures_of(pairs, "val", scores["val"], curve),
        "test": figures_of(pairs, "test", scores["test"], curve),
        "software": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "use": "Ranks masks for review. Not for clinical use.",
    }
    write_text(out / TRAINING / "masks.csv", mask_table(pairs, scores, curve))
    rule = options.pairs.rule
    manifest = QualityManifest(
        name=out.absolute().name,
        backbone=options.training.backbone,
        width=options.training.width,
        outline=options.training.outline,
        slices=Slices(kind=rule.kind, size=rule.size, margin=rule.margin),
        estimate="volume",
        count=SLICES,
        embedding="file" if options.embeddings else "text",
        calibration=curve,
        training_cts=training_cts([(mask.case, mask.part) for mask in pairs.masks], pairs.cts),
        card=card,
    )
    if options.embeddings:
        write_embeddings(out / EMBEDDINGS, read_embeddings(options.embeddings))
    export_model(trained.network, out, manifest)
    return card


def _recipe(options: RunOptions, done: Progress) -> dict[str, Any]:
    training = {name: value for name, value in asdict(options.training).items() if name not in {"checkpoint_seconds", "backbone", "width"}}
    examples = {"damages": options.pairs.damages, "misnamed": options.pairs.misnamed}
    best = None if np.isnan(done.best) else round(done.best, 4)
    return {**training, **examples, "best_epoch": done.best_epoch + 1, "best_slice_pearson": best}
