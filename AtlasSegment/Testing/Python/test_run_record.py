"""run.json says that a step is finished only for the same inputs, parameters and present outputs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.run_record import Step, software_versions


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a folder with an input and an output."""
    (tmp_path / "ct.nii.gz").write_bytes(b"ct")
    (tmp_path / "mask.nii.gz").write_bytes(b"mask")
    return tmp_path


def step(place: Path, name: str = "segment", **parameters: Any) -> Step:
    """Return the step on the files of `place`."""
    return Step(place / "run.json", name, {"ct": place / "ct.nii.gz"}, parameters or {"overlap": 0.5})


def finished(place: Path, **parameters: Any) -> Path:
    """Finish the step once; return its output."""
    step(place, **parameters).finish({"voxels": 4})
    return place / "mask.nii.gz"


def test_a_step_is_finished_after_it_finished(place: Path) -> None:
    output = place / "mask.nii.gz"
    assert not step(place).is_finished([output])
    finished(place)
    assert step(place).is_finished([output])
    assert step(place).is_finished([])


def test_another_input_parameter_or_name_makes_it_unfinished(place: Path) -> None:
    output = finished(place)
    assert not step(place, overlap=0.25).is_finished([output])
    assert not step(place, overlap=0.5, tta=True).is_finished([output])
    assert not step(place, "average").is_finished([output])
    (place / "ct.nii.gz").write_bytes(b"another ct")
    assert not step(place).is_finished([output])


def test_an_input_in_another_role_makes_it_unfinished(place: Path) -> None:
    output = finished(place)
    assert not Step(place / "run.json", "segment", {"label": place / "ct.nii.gz"}, {"overlap": 0.5}).is_finished([output])


def test_a_missing_output_makes_it_unfinished(place: Path) -> None:
    output = finished(place)
    assert not step(place).is_finished([output, place / "entropy.nii.gz"])
    output.unlink()
    assert not step(place).is_finished([output])


def test_the_order_of_parameters_does_not_matter_and_the_times_do_not(place: Path) -> None:
    output = finished(place, a=1, b=[1, 2])
    assert step(place, b=[1, 2], a=1).is_finished([output])
    assert not step(place, a=1, b=[2, 1]).is_finished([output])


@pytest.mark.parametrize("part", [0, 1, 0.3, 0.6, 0.9, -2])
def test_a_torn_record_counts_as_unfinished(place: Path, part: float) -> None:
    output = finished(place)
    content = (place / "run.json").read_bytes()
    (place / "run.json").write_bytes(content[: int(part if abs(part) >= 1 or part == 0 else part * len(content))])
    assert not step(place).is_finished([output])


@pytest.mark.parametrize("content", [b"[]", b"null", b"{}", b'"x"', b"\xff", b'{"fingerprint": 3}'])
def test_a_record_of_something_else_counts_as_unfinished(place: Path, content: bytes) -> None:
    (place / "run.json").write_bytes(content)
    assert not step(place).is_finished([place / "mask.nii.gz"])


def test_beginning_takes_the_old_record_back(place: Path) -> None:
    output = finished(place)
    step(place, overlap=0.25).begin()
    assert not step(place).is_finished([output])
    assert not (place / "run.json").exists()
    assert output.exists()


def test_beginning_removes_what_a_killed_writer_left(place: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from AtlasSegmentLib.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary: temporary.write_bytes(b'half'); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code, str(place / "entropy" / "liver.nii.gz")], env=environment, check=False)
    assert len(list((place / "entropy").iterdir())) == 1
    step(place).begin()
    if os.name != "nt":
        assert list((place / "entropy").iterdir()) == []
    assert (place / "mask.nii.gz").exists()


def test_beginning_before_the_folder_exists_is_fine(place: Path) -> None:
    first = Step(place / "backbones" / "m" / "run.json", "segment", {"ct": place / "ct.nii.gz"}, {})
    first.begin()
    assert not first.is_finished([])
    first.finish({})
    assert first.is_finished([])


def test_a_record_that_cannot_be_taken_back_is_a_storage_error(place: Path) -> None:
    (place / "run.json").mkdir()
    with pytest.raises(StorageError, match=r"run\.json"):
        step(place).begin()


def test_the_record_says_what_was_done_with_what(place: Path) -> None:
    returned = step(place).finish({"voxels": 4})
    record = json.loads((place / "run.json").read_text(encoding="utf-8"))
    assert record == returned
    assert record["step"] == "segment"
    assert record["parameters"] == {"overlap": 0.5}
    assert record["results"] == {"voxels": 4}
    assert record["inputs"]["ct"]["file"] == "ct.nii.gz"
    assert record["inputs"]["ct"]["sha256"] == hashlib.sha256(b"ct").hexdigest()
    assert record["software"] == software_versions()
    assert datetime.fromisoformat(record["started"]) <= datetime.fromisoformat(record["finished"])
    assert datetime.fromisoformat(record["started"]).utcoffset() is not None


def test_a_missing_input_is_named(place: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        Step(place / "run.json", "segment", {"ct": place / "absent.nii.gz"}, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_parameters_that_are_not_json_are_refused_before_the_work(place: Path, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        step(place, value=value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes as a name")
def test_an_input_whose_name_is_not_utf8_is_recorded(place: Path) -> None:
    odd = place / os.fsdecode(b"M\xfcller.nii.gz")
    odd.write_bytes(b"ct")
    for _ in range(2):
        first = Step(place / "run.json", "segment", {"ct": odd}, {})
        done = first.is_finished([])
        first.finish({})
    assert done
