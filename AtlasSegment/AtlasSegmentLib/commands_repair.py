"""The command `atlas repair`: faults that networks make in label maps."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.label_files import record_path, require_writable, table_of_file, write_labels
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.repair import STEPS, RepairOptions, repair_labels
from AtlasSegmentLib.repair_noise import NoiseOptions
from AtlasSegmentLib.repair_report import RepairReport
from AtlasSegmentLib.repair_vertebrae import FragmentRule, VertebraOptions
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

_RULES = {"surface": FragmentRule.SURFACE, "documented": FragmentRule.DOCUMENTED, "delete": FragmentRule.DELETE}
OutOption = Annotated[Path, typer.Option(readable=False, help="Label map to write; must not exist.")]
TableOption = Annotated[
    str | None, typer.Option(help="What the values mean: a table (autoorgan-rib, ...) or a JSON file; by default the JSON beside the map.")
]
CtOption = Annotated[Path | None, typer.Option(readable=False, help="The CT, for the midline of a map that has no spine.")]
RuleOption = Annotated[str, typer.Option(help=f"Who takes a fragment of a vertebra: {', '.join(_RULES)}.")]


def repair_command(
    labels: Annotated[Path, typer.Argument(readable=False, help="Label map to repair; it is not changed.")],
    out: OutOption,
    table: TableOption = None,
    vertebrae: Annotated[bool, typer.Option("--vertebrae", help="Stray fragments of vertebrae.")] = False,
    sides: Annotated[bool, typer.Option("--sides", help="Left and right.")] = False,
    ribs: Annotated[bool, typer.Option("--ribs", help="Numbers and sides of ribs, by the vertebrae they come from.")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Small pieces away from a structure's largest.")] = False,
    noise_mm3: Annotated[float, typer.Option(help="A larger piece is no noise.")] = NoiseOptions().max_mm3,
    fragments: RuleOption = "surface",
    ct: CtOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Repair a label map: fragments of vertebrae, sides, rib numbers, noise (in this order).

    Example: atlas repair body.nii.gz --table autoorgan-whole-body --vertebrae --sides --ribs --noise --out repaired.nii.gz
    """
    chosen = [step for step, wanted in zip(STEPS, (vertebrae, sides, ribs, noise), strict=True) if wanted]
    if not chosen:
        message = "No repair is chosen."
        raise InputError(message, f"Add some of {', '.join(f'--{step}' for step in STEPS)}.")
    if fragments not in _RULES:
        message = f"There is no rule {fragments!r} for fragments."
        raise InputError(message, f"Use one of {', '.join(_RULES)}.")
    options = RepairOptions(tuple(chosen), VertebraOptions(_RULES[fragments]), NoiseOptions(noise_mm3))
    with console.progress_bar("repair") as progress:
        result = repair_file(labels, out, options, table=table, ct=ct, progress=progress)
    _print(result, as_json)


@dataclass(frozen=True)
class RepairedFile:
    """What became of a label map: the files written and the report."""

    files: tuple[Path, ...]
    report: RepairReport


def repair_file(
    source: Path,
    out: Path,
    options: RepairOptions,
    *,
    table: str | None = None,
    ct: Path | None = None,
    progress: ProgressCallback = ignore_progress,
) -> RepairedFile:
    """Repair a label map file and write the result, its tables and its run record (`<out>_run.json`).

    Args:
        source: Any format that can be read; not changed.
        out: Must not exist.
        options: What to repair.
        table: As in `table_of_file`.
        ct: The CT, or None.
        progress: Called with the share done and the step.

    Raises:
        InputError: A file cannot be read or is there already.
        LabelError: The table is not that of the map.
        StorageError: A file cannot be written.
    """
    require_writable(out, [source])
    meaning = table_of_file(source, table)
    inputs = {"labels": source} | ({"ct": ct} if ct is not None and ct.is_file() else {})
    volume = read_label_volume(source, meaning)
    step = Step(record_path(out), "repair", inputs, _parameters(options, meaning.name))
    repaired = repair_labels(volume, options, read_volume(ct) if ct is not None else None, progress)
    files = write_labels(out, repaired.labels, f"{source.name}, repaired: {', '.join(options.steps)}")
    step.finish(repaired.report.to_json())
    return RepairedFile((*files, record_path(out)), repaired.report)


def _parameters(options: RepairOptions, table: str) -> dict[str, Any]:
    rule = {**asdict(options.vertebrae), "rule": options.vertebrae.rule.name.lower()}
    return {"table": table, "steps": list(options.steps), "vertebrae": rule, "noise": asdict(options.noise)}


def _print(result: RepairedFile, as_json: bool) -> None:
    if as_json:
        console.print_json({"step": "repair", "files": [str(path) for path in result.files], **result.report.to_json()})
        return
    rows = [(c.step, c.label, c.to or "removed", c.voxels, c.ml, c.reason) for c in result.report.changes]
    if rows:
        console.print_table(result.files[0].name, ("repair", "label", "now", "voxels", "ml", "why"), rows)
    for remark in result.report.remarks:
        console.print_line(remark)
    counts = Counter(change.step for change in result.report.changes)
    done = ", ".join(f"{step} {counts[step]}" for step in STEPS if counts[step]) or "nothing to repair"
    console.print_line(f"{result.files[0]}: {done}")
