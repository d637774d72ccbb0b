"""Which files decide an assembled case: found and hashed before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from AtlasReviewLib.assembly_levels import Decision, decide, read_levels
from AtlasReviewLib.assembly_models import model_facts
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.case_masks import Mask, case_grid, read_mask
from AtlasReviewLib.merge import ORIGINAL, PREDICTED, REVISED, Candidate, OrganCandidates, Source
from AtlasReviewLib.midline import vertebra_masks
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.original_labels import STRADDLE_FRACTION, OriginalLabels, original_class_values, original_labels
from AtlasReviewLib.release_layout import ReleaseOrgan, release_organs, table_name
from AtlasReviewLib.review_verdicts import Verdict, verdicts_of
from AtlasReviewLib.revisions import unfinished_revision
from AtlasReviewLib.task_states import ACCEPTED, REJECTED, VERIFY
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.dataset_annotations import dataset_key, dataset_keys, merged_sides, organ_parts, original_value_map
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, sha256_of
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.outdated import changed_masks, require_current_average

SOMEBODY = "a reader"
"""Whose mask it is where two readers do a task, blind to each other, and are not both done."""


@dataclass(frozen=True)
class AssemblyPlan:
    """Everything that decides the result.

    Attributes:
        case: The source.
        organs: The structures of the release that have a mask, with their candidates.
        inputs: One entry for each file: role, organ, file (relative to the case), sha256, and for a revision its id.
        parameters: Everything else that decides the result.
        revisions: Release organ to (revision id or None, reader) of its current revision.
        verdicts: Release organ to what a reader decided about it.
        left_out: Structures that the case has and the release has not, with the reason.
        missing: Structures of the release that the case has no mask of.
        notes: What a person should know, one sentence each.
        models: What is known of the models that predicted: name, version, sha256, license.
    """

    case: CaseFolder
    organs: list[OrganCandidates]
    inputs: list[dict[str, Any]]
    parameters: dict[str, Any]
    revisions: Mapping[str, tuple[str | None, str]]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    models: list[dict[str, str]] = field(default_factory=list)


def plan_assembly(
    case: CaseFolder,
    version: str,
    dataset: str | None = None,
    options: AssemblyOptions = AssemblyOptions(),  # noqa: B008 - frozen
) -> AssemblyPlan:
    """Find and hash every file that a case is assembled from.

    Args:
        case: The source.
        version: Of the AbdomenAtlas release: "1.0" or "1.1".
        dataset: Key of the dataset that the original labels are of; told by the folder names when None.
        options: Painting order and verdicts. Levels of readers come from readers.json of the dataset folder.

    Raises:
        InputError: No such release, or a file cannot be read.
        DatasetError: No such dataset, or a case without any labels or with several models and no average.
        LabelError: The values of the original labels are not known.
    """
    return _Planner(case, version, dataset, options).plan()


class _Planner:
    def __init__(self, case: CaseFolder, version: str, dataset: str | None, options: AssemblyOptions) -> None:
        self.case, self.version, self.options = case, version, options
        self.levels = read_levels(case.folder.parent)
        self.levels_used: dict[str, int] = {}
        self.release = release_organs(version)
        self.base, self.models = _base(case)
        self.key = original_dataset(case, dataset, case.original_label.is_file())
        self.original_values = original_class_values(self.key) if self.key is not None else frozenset()
        self.inputs: list[dict[str, Any]] = []
        self.revisions: dict[str, tuple[str | None, str]] = {}
        self.notes: list[str] = []
        self.load_original = _cached_original(case, self.key)
        found = verdicts_of(case) if options.verdicts is None else options.verdicts
        named = {o.name: found[name] for o in self.release for name in o.case_names if name in found}
        self.verdicts = {organ: verdict for organ, verdict in named.items() if not verdict.is_open}
        self.open = {organ: verdict for organ, verdict in named.items() if verdict.is_open}

    def plan(self) -> AssemblyPlan:
        self._add("ct", self.case.ct)
        self._add_original()
        candidates = [(organ, self._candidates(organ)) for organ in self.release]
        order_of = self.options.order_of
        organs = [OrganCandidates(o.name, order_of(o.name, o.class_value), o.value, found) for o, found in candidates if found]
        missing = [organ.name for organ, found in candidates if not found]
        if not organs:
            message = f"{self.case.folder}: there is no mask of any organ of release {self.version}."
            raise DatasetError(message, "Run atlas segment and atlas average first.")
        parameters = {
            "release": self.version,
            "label_table": table_name(self.version),
            "dataset": self.key,
            "base": self.base.folder.relative_to(self.case.folder).as_posix(),
            "models": self.models,
            "priority": [ORIGINAL, REVISED, PREDICTED],
            "straddle_fraction": STRADDLE_FRACTION,
            "original_includes": self._original_includes(),
            "verdicts": {organ: _recorded(v) for organ, v in sorted(self.verdicts.items()) if not v.is_blind},
            **({"paint_order": list(self.options.paint_order)} if self.options.paint_order else {}),
            **({"disagreements": {organ: verdict.measured for organ, verdict in sorted(self.open.items())}} if self.open else {}),
            **({"reader_levels": dict(sorted(self.levels_used.items()))} if self.levels_used else {}),
        }
        self._require_as_recorded(organs)
        self._note_base()
        self.notes += [
            f"{organ}: two readings disagree ({verdict.measured}) and nobody has adjudicated; the first reading counts provisionally."
            for organ, verdict in sorted(self.open.items())
        ]
        self.notes += [
            f"{organ}: {verdict.reader} accepted it, and nobody has verified that yet."
            for organ, verdict in sorted(self.verdicts.items())
            if verdict.stage == VERIFY and verdict.state == ACCEPTED
        ]
        known = (self.revisions, self.verdicts, self._left_out())
        models = [model_facts(self.case, name) for name in self.models]
        return AssemblyPlan(self.case, organs, self.inputs, parameters, *known, missing, self.notes, models)

    def _require_as_recorded(self, organs: list[OrganCandidates]) -> None:
        """Refuse to credit models with a mask that somebody changed, or with an average of earlier predictions."""
        if self.base.folder != self.case.average.folder:
            return
        require_current_average(self.case)
        predicted = {name for organ in organs if organ.ranked[0].source.kind == PREDICTED for name in self._case_names(organ.organ)}
        changed = sorted(predicted & set(changed_masks(self.base)))
        if changed:
            message = f"{self.base.mask(changed[0])}: was changed after the models were averaged."
            again = f"or bring the average back: atlas average {self.case.folder} --force."
            remedy = f"Save it: atlas revise {self.case.folder} {changed[0]} --mask FILE --reader NAME; {again}"
            raise DatasetError(message, remedy)

    def _case_names(self, organ: str) -> tuple[str, ...]:
        return next(found.case_names for found in self.release if found.name == organ)

    def _candidates(self, organ: ReleaseOrgan) -> tuple[Candidate, ...]:
        verdict = self.verdicts.get(organ.name)
        if verdict is not None and verdict.state == REJECTED:
            # What a reader found unusable must not reach the release; labels that came with the dataset are not theirs to judge.
            why = f": {verdict.comment}" if verdict.comment else ""
            self.notes.append(f"{organ.name}: left out, as {verdict.reader or SOMEBODY} rejected it{why}")
            found = [self._original(organ)]
        else:
            found = [self._original(organ), self._revised(organ), self._predicted(organ)]
        return tuple(candidate for candidate in found if candidate is not None)

    def _original(self, organ: ReleaseOrgan) -> Candidate | None:
        if organ.class_value not in self.original_values:
            return None
        return Candidate(Source(ORIGINAL, f"dataset {self.key}"), lambda: self.load_original().mask(organ.class_value))

    def _original_includes(self) -> dict[str, list[str]]:
        """Return the structures whose voxels count to an organ's original mask too, such as liver: liver_tumor."""
        parts = {organ: inside for organs, inside in organ_parts(self.key) for organ in organs} if self.key is not None else {}
        name_of = load_table("abdomenatlas").name_of
        return {organ.name: [name_of(part) for part in parts[organ.class_value]] for organ in self.release if organ.class_value in parts}

    def _revised(self, organ: ReleaseOrgan) -> Candidate | None:
        verdict = self.open.get(organ.name) or self.verdicts.get(organ.name)
        final = None if verdict is None else verdict.final
        is_blind = verdict is not None and verdict.is_blind
        for name in organ.case_names if verdict is None or final is None else (verdict.organ,):
            if not final and (not _was_revised(self.case, name) or known_organ(self.case, name) != name):
                continue
            unfinished = unfinished_revision(self.case, name)
            if unfinished is not None:
                what = f"revision {unfinished}" if unfinished else "the roll back to the prediction"
                self.notes.append(f"{name}: {what} was interrupted before it became current; save it or roll back to it again.")
            decision = decide(self.case, name, None if is_blind else self.levels, final, "" if verdict is None else verdict.sha256)
            self.levels_used.update(decision.levels)
            if verdict is None or final is None:
                self._note_level(name, decision)
            elif not verdict.is_open and not is_blind:
                self._note_newer(name, verdict, decision)
            counts, path = decision.revision, decision.file
            if counts is not None and path is not None and is_blind:
                self._add("revised", path, organ.name)
                return Candidate(Source(REVISED, SOMEBODY), _reader_of(self.case, path))
            if counts is not None and path is not None:
                self._add("revised", path, organ.name, revision=counts.id or None, reader=counts.reader)
                self.revisions[organ.name] = (counts.id or None, counts.reader)
                return Candidate(Source(REVISED, counts.reader), _reader_of(self.case, path))
        return None

    def _note_newer(self, name: str, verdict: Verdict, decision: Decision) -> None:
        """Say when the mask that is in place is another one than the one that was decided on."""
        if self._is_in_place(name, decision):
            return
        who = f"the revision {decision.revision.id}" if decision.revision is not None else "the prediction"
        newer = decision.overruled
        place = f"the mask that is in place now, of {newer.reader}, is another one" if newer is not None else "it was rolled back since"
        self.notes.append(f"{name}: {who} counts, as {verdict.reader} accepted it; {place}, and nobody has decided on that.")

    def _is_in_place(self, name: str, decision: Decision) -> bool:
        return (decision.revision is None and decision.overruled is None) or decision.file == self.case.average.revised_mask(name)

    def _note_level(self, name: str, decision: Decision) -> None:
        """Say when a level decided against the newest revision."""
        if self._is_in_place(name, decision):
            return
        level = decision.levels.get
        who = f"the revision {decision.revision.id}" if decision.revision is not None else "the roll back to the prediction"
        newer = decision.overruled
        by = f"the newer revision of {newer.reader} (level {level(newer.reader)})" if newer is not None else "a newer roll back"
        self.notes.append(f"{name}: {who} counts by the level of its reader, not {by}.")

    def _predicted(self, organ: ReleaseOrgan) -> Candidate | None:
        path = next((self.base.mask(name) for name in organ.case_names if self.base.mask(name).is_file()), None)
        if path is None:
            return None
        verdict = self.verdicts.get(organ.name)
        if verdict is not None and verdict.final == "" and verdict.sha256 not in ("", sha256_of(path)):
            who = verdict.reader or SOMEBODY
            self.notes.append(f"{organ.name}: {who} accepted a prediction that is not there any more; the one of today is used.")
        self._add("predicted", path, organ.name)
        return Candidate(Source(PREDICTED, self._predicted_by()), _reader_of(self.case, path))

    def _predicted_by(self) -> str:
        models = ", ".join(self.models)
        if self.base.folder != self.case.average.folder:
            return models
        return f"average of {models}" if models else "average"

    def _add_original(self) -> None:
        if self.key is None:
            return
        self._add("original", self.case.original_label)
        if merged_sides(self.key) or any(len(organs) > 1 for organs, _ in organ_parts(self.key)):
            for path in vertebra_masks(self.case):
                self._add("midline", path)
        dropped = sorted({value for value in original_value_map(self.key).values() if value} - self.original_values)
        dropped = [value for value in dropped if value not in {both for both, _, _ in merged_sides(self.key)}]
        if dropped:
            names = ", ".join(load_table("abdomenatlas").name_of(value) for value in dropped)
            self.notes.append(f"Original labels of {names} are not used: AbdomenAtlas does not list them as annotated in this dataset.")

    def _add(self, role: str, path: Path, organ: str = "", **more: Any) -> None:
        if path.is_file():
            entry = {"role": role, "organ": organ, "file": path.relative_to(self.case.folder).as_posix(), "sha256": sha256_of(path)}
            self.inputs.append({**entry, **more})

    def _note_base(self) -> None:
        if self.base.folder != self.case.average.folder:
            self.notes.append(f"There is no average: the masks of the model {self.models[0]} are used as they are.")
        elif self.base.organs() and not self.base.run_record.is_file():
            self.notes.append("average/ has no run.json: another program made it, or averaging was interrupted.")

    def _left_out(self) -> list[dict[str, str]]:
        released = {name for organ in self.release for name in organ.case_names}
        table = load_table("abdomenatlas")
        there = {*self.base.organs(), *self.case.average.revised_organs(), *(table.name_of(value) for value in self.original_values)}
        return [{"organ": name, "reason": f"not a structure of release {self.version}"} for name in sorted(there - released)]


def _base(case: CaseFolder) -> tuple[LabelFolder, list[str]]:
    """Return the folder of predicted masks and the models that made them."""
    models = case.models()
    if case.average.organs():
        return case.average, _averaged_models(case) or models
    if len(models) > 1:
        message = f"{case.folder}: {len(models)} models have predicted the case, but there is no average."
        raise DatasetError(message, "Run atlas average first.")
    return (case.backbone(models[0]), models) if models else (case.average, [])


def _averaged_models(case: CaseFolder) -> list[str]:
    try:
        models = read_json(case.average.run_record)["parameters"]["models"]
    except (AtlasError, KeyError, TypeError):  # AbdomenAtlas writes no record: the folders say it then
        return []
    return [str(model) for model in models] if isinstance(models, list) else []


def original_dataset(case: CaseFolder, dataset: str | None, has_labels: bool) -> str | None:
    """Return the key of the dataset that original labels are of; None for a case without them.

    Raises:
        DatasetError: No such dataset, or it is not known: people's labels are never passed over in silence.
        LabelError: It is not known what the values of that dataset mean.
    """
    if dataset is not None and dataset not in dataset_keys():
        message = f"There is no dataset {dataset!r} in the AbdomenAtlas tables."
        raise DatasetError(message, f"Use one of {', '.join(dataset_keys())}.")
    if not has_labels:
        return None
    key = dataset or dataset_key(case.dataset, case.name)
    if key is None:
        message = f"{case.original_label}: the folder name {case.dataset!r} does not say which dataset these labels are of."
        raise DatasetError(message, f"Name it: --dataset-id {'|'.join(dataset_keys())}.")
    original_value_map(key)
    return key


def _cached_original(case: CaseFolder, key: str | None) -> Callable[[], OriginalLabels]:
    @cache
    def load() -> OriginalLabels:
        return original_labels(case, key or "")

    return load


def _recorded(verdict: Verdict) -> dict[str, Any]:
    """Return what a manifest says of a verdict; whether it was checked only where it was, or is to be."""
    stage: dict[str, Any] = {"stage": verdict.stage} if verdict.stage else {}
    return {"state": verdict.state, "reader": verdict.reader, **stage, **({"readings": 2} if verdict.readings == 2 else {})}


def _was_revised(case: CaseFolder, organ: str) -> bool:
    """Tell, without reading anything, whether a reader or another program ever touched an organ: most organs nobody did."""
    return case.average.revised_mask(organ).is_file() or case.average.revisions(organ).is_dir()


def _reader_of(case: CaseFolder, path: Path) -> Callable[[], Mask]:
    return lambda: read_mask(path, case_grid(case))
