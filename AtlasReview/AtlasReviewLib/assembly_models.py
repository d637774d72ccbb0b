"""What is known of a model that predicted a case: version, hash and license, as its run.json tells them."""

from __future__ import annotations

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json


def model_facts(case: CaseFolder, model: str) -> dict[str, str]:
    """Return name, version, sha256 and license of a model as its run.json tells them; "" where it does not."""
    facts = {"name": model, "version": "", "sha256": "", "license": ""}
    record = case.backbone(model).run_record
    if not record.is_file():
        return facts
    try:
        content = read_json(record)
        ran, told = content["parameters"]["model"], content["results"].get("model", {})
        found = {"version": ran.get("version"), "sha256": ran.get("sha256"), "license": told.get("license")}
    except (AtlasError, KeyError, TypeError, AttributeError):  # another program's record
        return facts
    return {**facts, **{key: str(value) for key, value in found.items() if value}}
