"""Whether a model on this machine is whole, can be loaded safely and runs: the answer of `atlas model check`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.model_facts import KIND_TITLES, ModelFacts, size_text
from AtlasSegmentLib.model_kinds import describe_model
from AtlasSegmentLib.model_store_record import Installed, changed_files
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume

_SIDE, _SPACING = 32, 3.0
"""A cube of water of 96 mm: one window of most networks."""


@dataclass
class CheckReport:
    """What was found out about a model.

    Attributes:
        folder: The model's folder.
        facts: What it says about itself.
        steps: (what was looked at, what was found), in order; the last one failed when there is a problem.
        engine: Engine and device really in use, or "" when it was not loaded.
        device: "gpu", "cpu" or "".
        problem: What is wrong, or "".
        remedy: What to do about it.
    """

    folder: Path
    facts: ModelFacts
    steps: list[tuple[str, str]] = field(default_factory=list)
    engine: str = ""
    device: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def check_model(
    folder: Path,
    stored: Installed | None = None,
    device: Device = "auto",
    *,
    run: bool = True,
    progress: ProgressCallback = ignore_progress,
) -> CheckReport:
    """Look at a model: its files, what it says about itself, whether it loads, and one run over a CT of zeros.

    Never raises for a model that is damaged or cannot be used: that is the answer.

    Args:
        folder: The model's folder.
        stored: What the store knows about it, or None.
        device: Where it shall run.
        run: Load and run it too.
        progress: Told the finished share and the stage.
    """
    progress(0.0, "description")
    report = CheckReport(folder, describe_model(folder, thorough=True))
    try:
        progress(0.1, "files")
        _check_files(report, stored)
        _check_description(report)
        if run:
            progress(0.3, "load and run")
            _check_run(report, device)
    except AtlasError as error:
        report.problem, report.remedy = error.message, error.remedy
    return report


def _check_files(report: CheckReport, stored: Installed | None) -> None:
    if stored is None:
        report.steps.append(("files", f"{size_text(report.facts.size) or 'none'}; no checksums were stored for them"))
        return
    wrong = changed_files(stored.folder, stored.record)
    if wrong:
        message = f"{stored.folder}: {'; '.join(wrong[:3])}{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}."
        raise ModelError(message, f"Add it again: atlas model add {stored.record.name} --force")
    report.steps.append(("files", f"{len(stored.record.files)} files, {size_text(stored.record.size)}, SHA-256 as stored"))
    for source in stored.record.sources:
        if source.sha256:
            compared = f"as published ({', '.join(source.checked)})" if source.checked else "recorded when it was added; none is published"
            report.steps.append(("source", f"{source.address}: SHA-256 {source.sha256}, {compared}"))


def _check_description(report: CheckReport) -> None:
    facts = report.facts
    if facts.problem:
        raise ModelError(facts.problem, facts.remedy)
    report.steps.append(("kind", KIND_TITLES[facts.kind]))
    report.steps.append(("labels", f"{len(facts.organs)}: {', '.join(facts.organs)}"))
    report.steps.append(("license", facts.license or "not stated"))


def _check_run(report: CheckReport, device: Device) -> None:
    from AtlasSegmentLib.model import load_model

    began = time.perf_counter()
    model = load_model(report.folder, device=device)
    report.engine, report.device = model.engine, model.device
    report.steps.append(("weights", f"loaded in {time.perf_counter() - began:.1f} s"))
    report.steps.append(("engine", model.engine))
    affine = np.diag([_SPACING, _SPACING, _SPACING, 1.0])
    ct = Volume(np.zeros((_SIDE, _SIDE, _SIDE), np.int16), affine, "zeros")
    began = time.perf_counter()
    masks = model.segment(ct, "whole", PRESETS["fast"]).masks(ct.grid)
    found = [model.spec.table.name_of(value) for value, mask in masks.items() if mask.crop.any()]
    report.steps.append(("run", f"{time.perf_counter() - began:.1f} s over zeros; it found {', '.join(found) or 'nothing'} there"))
