"""Provenance in the report: which models and software made the files of a case, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.html_page import NOTHING, Content, Number, table

_SHORT = 12


def read_record(path: Path) -> dict[str, Any]:
    """Return a run record; {} where there is none or it is damaged: a report never fails on it."""
    try:
        found = read_json(path)
    except AtlasError:
        return {}
    return found if isinstance(found, dict) else {}


def model_table(case: CaseFolder) -> str:
    """Return the models that predicted the case."""
    rows = [_model_row(name, read_record(case.backbone(name).run_record)) for name in case.models()]
    return table(["model", "title", "version", "license", "SHA-256", "engine"], rows)


def _model_row(name: str, record: Mapping[str, Any]) -> list[Content]:
    results, parameters = _part(record, "results"), _part(record, "parameters")
    about = {**_part(parameters, "manifest"), **_part(results, "model"), **_part(parameters, "model")}
    shown = [str(about.get(key) or NOTHING) for key in ("title", "version", "license")]
    return [name, *shown, str(about.get("sha256") or NOTHING)[:_SHORT], str(results.get("engine") or NOTHING)]


def step_table(case: CaseFolder) -> str:
    """Return the steps with their times; a step without a record is not listed."""
    paths = {f"segment, {name}": case.backbone(name).run_record for name in case.models()}
    paths |= {"average": case.average.run_record, "attention": case.average.folder / "attention" / "run.json"}
    rows: list[list[Content]] = []
    for name, path in paths.items():
        record = read_record(path)
        if record:
            times = [str(record.get(key) or NOTHING) for key in ("started", "finished")]
            fingerprint = str(record.get("fingerprint") or NOTHING)[:_SHORT]
            rows.append([name, times[0], times[1], Number(_seconds(*times), 1), fingerprint, _versions(record)])
    return table(["step", "started", "finished", "seconds", "fingerprint", "software"], rows)


def _versions(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in _part(record, "software").items()) or NOTHING


def _seconds(started: str, finished: str) -> float | None:
    try:
        return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):  # not a time, or only one of them has a time zone
        return None


def _part(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = record.get(key)
    return found if isinstance(found, dict) else {}
