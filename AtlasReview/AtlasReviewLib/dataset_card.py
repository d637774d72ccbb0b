"""The card of a dataset: what is in it, who or what drew it, how old the revisions are, and under which licenses its parts are."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from AtlasReviewLib.dataset_card_text import card_markdown
from AtlasReviewLib.merge import KINDS, ORIGINAL, REVISED
from AtlasReviewLib.release_files import json_text, write_changed
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATED, VERIFIED, VERIFY

JSON_NAME, TEXT_NAME, FORMAT = "dataset_card.json", "DATASET_CARD.md", "atlas-dataset-card/1"
_TIME = "%Y%m%dT%H%M%S"
_DAY = 86400.0
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class CardOptions:
    """Attributes:
    anonymous_readers: Write "reader 1", ... instead of names.
    licenses: "dataset", "ct", "original <key>" or "model <name>" to the name of its license.
    """

    anonymous_readers: bool = False
    licenses: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Organ:
    """Counts of one organ over all cases."""

    sources: Counter[str] = field(default_factory=Counter)
    volumes: list[float] = field(default_factory=list)
    empty: int = 0
    unreviewed: int = 0
    review: Counter[str] = field(default_factory=Counter)


class _Collector:
    """Adds up manifests, one at a time."""

    def __init__(self) -> None:
        self.cases, self.conflict_voxels = 0, 0
        self.organs: dict[str, _Organ] = defaultdict(_Organ)
        self.missing: Counter[str] = Counter()
        self.readers: dict[str, Counter[str]] = defaultdict(Counter)
        self.times: list[datetime] = []
        self.models: dict[tuple[str, str, str, str], int] = Counter()
        self.originals: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.tables: set[str] = set()
        self.software: dict[str, set[str]] = defaultdict(set)

    def add(self, manifest: Mapping[str, Any]) -> None:
        self.cases += 1
        self.tables.add(manifest["parameters"]["label_table"])
        self.sources[manifest["source"]["dataset"]] += 1
        self.missing.update(manifest["missing"])
        self.conflict_voxels += sum(conflict["voxels"] for conflict in manifest.get("conflicts", []))
        for name, organ in manifest["organs"].items():
            self._add_organ(name, organ)
        if any(organ["source"] == ORIGINAL for organ in manifest["organs"].values()):
            self.originals[str(manifest["parameters"]["dataset"])] += 1
        for model in manifest.get("models", []):
            self.models[model["name"], model["version"], model["sha256"], model["license"]] += 1
        for package, version in manifest["software"].items():
            self.software[package].add(version)

    def _add_organ(self, name: str, organ: Mapping[str, Any]) -> None:
        counts = self.organs[name]
        counts.sources[organ["source"]] += 1
        if organ["voxels"]:
            counts.volumes.append(float(organ["volume_ml"]))
        else:
            counts.empty += 1
        if organ["source"] != ORIGINAL and not organ.get("review") and organ["source"] != REVISED:
            counts.unreviewed += 1
        counts.review.update(_reviewed(organ.get("review") or {}))
        for reader in organ["readers"]:
            self.readers[reader][name] += 1
        if organ.get("revision"):
            self.times.append(_time_of(organ["revision"]))


REVIEWED = ("accepted", "waiting to be verified", "verified", "read twice", "adjudicated")
"""How far a mask was reviewed; one may be several of these."""


def _reviewed(review: Mapping[str, Any]) -> Counter[str]:
    """Return which of REVIEWED holds for the review of one organ of a manifest."""
    stage = review.get("stage", "")
    is_true = (review.get("state") == ACCEPTED, stage == VERIFY, stage == VERIFIED, review.get("readings") == 2, stage == ADJUDICATED)
    return Counter(name for name, found in zip(REVIEWED, is_true, strict=True) if found)


def _time_of(revision: str) -> datetime:
    return datetime.strptime(revision.split(".", maxsplit=1)[0], _TIME).replace(tzinfo=timezone.utc)


def collect_card(manifests: Iterable[Mapping[str, Any]], options: CardOptions, now: Clock = utc_now) -> dict[str, Any]:
    """Return what a card says, as plain values.

    Args:
        manifests: Of the assembled cases; only sums are kept of them.
        options: See `CardOptions`.
        now: Clock; ages are counted from it.
    """
    total = _Collector()
    for manifest in manifests:
        total.add(manifest)
    moment = now().astimezone(timezone.utc)
    return {
        "format": FORMAT,
        "created": moment.strftime("%Y-%m-%d"),
        "cases": total.cases,
        "cases_by_source_dataset": dict(sorted(total.sources.items())),
        "label_tables": sorted(total.tables),
        "organs": {name: _organ(counts, total.missing[name]) for name, counts in sorted(total.organs.items())},
        "organs_in_no_case": sorted(set(total.missing) - set(total.organs)),
        "revisions": _ages(total.times, moment),
        "readers": _readers(total.readers, options.anonymous_readers),
        "models": _models(total.models, options.licenses),
        "original_labels": [
            {"dataset": key, "cases": count, "license": _license(options.licenses, f"original {key}")}
            for key, count in sorted(total.originals.items())
        ],
        "licenses": {name: _license(options.licenses, name) for name in ("dataset", "ct")},
        "conflicts": {"voxels": total.conflict_voxels, "file": "conflicts.csv of the assembled dataset"},
        "software": {package: sorted(versions) for package, versions in sorted(total.software.items())},
    }


def _organ(counts: _Organ, missing: int) -> dict[str, Any]:
    return {
        "sources": {kind: counts.sources[kind] for kind in KINDS},
        "empty": counts.empty,
        "missing": missing,
        "seen_by_nobody": counts.unreviewed,
        "review": {name: counts.review[name] for name in REVIEWED},
        "volume_ml": _quartiles(counts.volumes),
    }


def _quartiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return quartiles as numpy's default (linear) gives them, smallest and largest; None without values."""
    if not values:
        return None
    first, median, third = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    found = {"min": min(values), "q1": first, "median": median, "q3": third, "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def _ages(times: list[datetime], now: datetime) -> dict[str, Any]:
    if not times:
        return {"count": 0}
    ordered = sorted(times)
    chosen = {"oldest": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "newest": ordered[-1]}
    dates = {name: {"date": t.strftime("%Y-%m-%d"), "age_days": round((now - t).total_seconds() / _DAY, 1)} for name, t in chosen.items()}
    return {"count": len(times), **dates}


def _readers(readers: Mapping[str, Counter[str]], anonymous: bool) -> list[dict[str, Any]]:
    ordered = sorted(readers.items(), key=lambda item: (-item[1].total(), item[0]))
    return [
        {"name": f"reader {number}" if anonymous else name, "masks": organs.total(), "organs": dict(sorted(organs.items()))}
        for number, (name, organs) in enumerate(ordered, start=1)
    ]


def _models(models: Mapping[tuple[str, str, str, str], int], licenses: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "version": version,
            "sha256": digest,
            "license": licenses.get(f"model {name}") or license_ or NOT_STATED,
            "cases": cases,
        }
        for (name, version, digest, license_), cases in sorted(models.items())
    ]


NOT_STATED = "not stated"


def _license(licenses: Mapping[str, str], what: str) -> str:
    return licenses.get(what) or NOT_STATED


def unused_licenses(card: Mapping[str, Any], licenses: Mapping[str, str]) -> list[str]:
    """Return the parts of given licenses that a dataset does not have, such as "original 04"."""
    originals = {f"original {original['dataset']}" for original in card["original_labels"]}
    return sorted(set(licenses) - {"dataset", "ct"} - originals - {f"model {model['name']}" for model in card["models"]})


def write_card(folder: Path, card: Mapping[str, Any], title: str) -> tuple[Path, Path]:
    """Write DATASET_CARD.md and dataset_card.json; files that say the same already are not touched. Raises StorageError."""
    write_changed(Path(folder) / TEXT_NAME, card_markdown(card, title))
    write_changed(Path(folder) / JSON_NAME, json_text(card))
    return Path(folder) / TEXT_NAME, Path(folder) / JSON_NAME
