"""run.json: what made the files beside it. It is written last, so it also says that the step is finished."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json, remove_stale_temporaries, sha256_of, storage_errors, sync_folder, write_json

FORMAT = "atlas-run/1"
_PACKAGES = ("slicer-atlas-annotator", "numpy", "scipy", "onnxruntime", "SimpleITK", "connected-components-3d", "isal")


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # optional, or running from a source checkout
            continue
    return versions


class Step:
    """One step on one case: knows whether it was done before with the same inputs and parameters.

    Args:
        record: Path of its run.json.
        name: Name of the step.
        inputs: Role to file; the files are hashed.
        parameters: Everything else that decides the result; must be JSON.

    Raises:
        InputError: An input cannot be read.
        TypeError, ValueError: The parameters are not JSON (NaN is not); said here, before the work is done.
    """

    def __init__(self, record: Path, name: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any]) -> None:
        self._record = record
        self._started = _now()
        self._content: dict[str, Any] = {
            "format": FORMAT,
            "step": name,
            "inputs": {role: {"file": path.name, "sha256": sha256_of(path)} for role, path in sorted(inputs.items())},
            "parameters": json.loads(json.dumps(parameters, sort_keys=True, allow_nan=False)),
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the step's name, the hashes of its inputs and its parameters."""
        return hashlib.sha256(json.dumps(self._content, sort_keys=True).encode()).hexdigest()

    def is_finished(self, outputs: list[Path]) -> bool:
        """Tell whether the record on the disk is of this very step and all `outputs` are there."""
        if not self._record.is_file() or not all(path.is_file() for path in outputs):
            return False
        try:
            found = read_json(self._record)
        except AtlasError:
            return False
        return isinstance(found, dict) and found.get("fingerprint") == self.fingerprint

    def begin(self) -> None:
        """Take back the record of an earlier run and what killed writers left, before the first output is replaced."""
        if not self._record.parent.is_dir():
            return
        with storage_errors(self._record):
            self._record.unlink(missing_ok=True)
            sync_folder(self._record.parent)  # or a power cut could bring the old record back beside new outputs
        remove_stale_temporaries(self._record.parent)

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record and return it."""
        record = {
            **self._content,
            "fingerprint": self.fingerprint,
            "results": dict(results),
            "software": software_versions(),
            "started": self._started,
            "finished": _now(),
        }
        write_json(self._record, record)
        return record


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
