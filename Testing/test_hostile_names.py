"""Names from users, lists and models: whatever they say, nothing outside the dataset folder is read or written."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_inputs
from AtlasSegmentLib.files import read_json
from run_program import Done, listing, run_program
from tiny_inputs import make_model

NFC, NFD = unicodedata.normalize("NFC", "Müller"), unicodedata.normalize("NFD", "Müller")
HARMLESS = ["two words", NFC, NFD, "患者 7", "حالة", "🫁 lung", "=cmd()", "-rf", "--json", "a'b", "$(id)", "%2e%2e", "x" * 190, "CON"]
HOSTILE = ["..", ".", "../x", "../../outside/case", "a/../../x", "/tmp/x", "C:\\x", "..\\x", "a/b", "nul\0", "two\nlines", "tab\there"]
HOSTILE += [".hidden", " blank", "blank ", "\u202erecta", "x" * 300, "é" * 120, "\udcff/x", "a\x1b[31m", "~/x/", "file:///etc"]
_opened: list[str] = []
_watched: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in {"open", "os.scandir", "os.listdir"} and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(_watched[0]):
            _opened.append(path)


@pytest.fixture(scope="session", autouse=True)
def audit() -> None:
    """Hear of every file and folder that this process opens; a hook stays until the process ends."""
    sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a place with inputs/, a finished case in data/, and outside/, which holds the same and is nobody's business."""
    place = tmp_path_factory.mktemp("template")
    inputs = tiny_inputs.make_inputs(place / "inputs", models=1)
    given = [str(inputs.ct), *inputs.model_options(), "--roi", str(inputs.roi), "--out", "data", "--case", "case"]
    for arguments in (["segment", *given], ["average", "data"], ["attention", "data"]):
        assert run_program(arguments, place).code == 0
    shutil.copytree(place / "data", place / "outside")
    (place / "outside/secret.txt").write_text("secret")
    return place


class Place:
    """A folder with data/, inputs/ and the sentinel outside/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    def atlas(self, *arguments: str, own: str = "data") -> Done:
        """Run the program; check its exit code, and that nothing outside the folder `own` was read or written."""
        before = self._elsewhere(own)
        _opened.clear()
        _watched.append(str(self.folder / "outside") + os.sep)
        try:
            done = run_program(list(arguments), self.folder)
        finally:
            _watched.clear()
        assert _opened == []
        assert self._elsewhere(own) == before
        assert done.code in {0, 2}, done
        assert done.code == 0 or done.err
        return done

    def _elsewhere(self, own: str) -> dict[str, str]:
        return {name: digest for name, digest in listing(self.folder).items() if name.split("/")[0] != own}

    def segment(self, **options: str | None) -> Done:
        """Segment the CT as a new case."""
        given: dict[str, str | None] = {"ct": "inputs/ct.nii.gz", "model": "inputs/model1", "roi": "inputs/roi.mrk.json", "out": "data"}
        given.update(options)
        named = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name != "ct" and value is not None]
        return self.atlas("segment", *named, *(["--", given["ct"]] if given["ct"] is not None else []))


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Place:
    return Place(Path(shutil.copytree(template, tmp_path / "place")))


def refused(done: Done) -> None:
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("atlas: error: ")


def test_the_audit_sees_what_is_read_outside(place: Place) -> None:
    with pytest.raises(AssertionError):
        place.atlas("info", "outside/case")


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_case_name_becomes_one_folder_of_that_name(place: Place, name: str) -> None:
    assert place.segment(case=name).code == 0
    assert (place.data / name / "backbones/tiny-1/run.json").is_file()
    assert place.atlas("average", f"data/{name}").code == 0


@pytest.mark.parametrize("name", [*HOSTILE, "", " "])
def test_a_hostile_case_name_is_refused(place: Place, name: str) -> None:
    before = listing(place.data)
    done = place.segment(case=name)
    if name:
        refused(done)
        assert listing(place.data) == before
    else:  # as if it were not given
        assert (place.data / "inputs/ct.nii.gz").is_file()  # called after its folder, as "ct" says nothing


@pytest.mark.parametrize("name", ["two words", "=cmd()", "-rf", NFD, ".hidden", "new\nline", "..nii", "🫁"])
def test_the_name_of_a_ct_file_is_a_case_name_or_is_refused(place: Place, name: str) -> None:
    ct = place.folder / "inputs" / f"{name}.nii.gz"
    shutil.copy(place.folder / "inputs/ct.nii.gz", ct)
    before = {path.name for path in place.data.iterdir()}
    done = place.segment(ct=f"inputs/{name}.nii.gz")
    assert {path.name for path in place.data.iterdir()} - before == (set() if done.code else {name})


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["name", "file", "organ"])
def test_a_hostile_name_in_model_json_is_refused(place: Place, field: str, name: str) -> None:
    folder = place.folder / "inputs/model1"
    if field == "organ":
        make_model(folder, "tiny-1", organs=("spleen", name))
    else:
        make_model(folder, **{"name": "tiny-1", field: name})
    before = listing(place.data)
    refused(place.segment(case="new"))
    assert listing(place.data) == before


@pytest.mark.parametrize("name", HARMLESS[::2])
def test_harmless_names_of_models_and_organs_become_files_of_that_name(place: Place, name: str) -> None:
    make_model(place.folder / "inputs/model1", name, organs=("spleen", f"{name}2"))
    assert place.segment(case="new").code == 0
    assert (place.data / "new/backbones" / name / "segmentations" / f"{name}2.nii.gz").is_file()
    assert place.atlas("average", "data/new").code == 0


def revise(place: Place, organ: str = "spleen", reader: str = "Ada", **options: str) -> Done:
    given = {"mask": "data/case/average/segmentations/liver.nii.gz", **options}
    return place.atlas(
        "revise", f"--reader={reader}", *(f"--{option}={value}" for option, value in given.items()), "--", "data/case", organ
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_reader_or_organ_or_list_or_revision_is_refused(place: Place, name: str) -> None:
    before = listing(place.data)
    if name == name.strip():  # blanks around a reader's name are taken off
        refused(revise(place, reader=name))
    refused(revise(place, organ=name))
    refused(place.atlas("priority", "data", f"--name={name}"))
    refused(place.atlas("revise", "data/case", "spleen", "--reader=Ada", f"--roll-back={name}"))
    refused(place.atlas("average", "data", f"--model={name}"))
    assert listing(place.data) == before


@pytest.mark.parametrize("name", HARMLESS[::2])
def test_harmless_readers_and_lists_work(place: Place, name: str) -> None:
    done = revise(place, reader=name, comment=name)
    assert done.code == 0, done
    assert len(list((place.data / "case/average/revisions/spleen").glob("[!.]*.nii.gz"))) == 1
    assert place.atlas("priority", "data", f"--name={name}").code == 0
    assert (place.data / f"{name}.csv").is_file()


LINES = [
    "../outside/case/ct.nii.gz",
    "set/../../outside/case/ct.nii.gz",
    "/etc/passwd",
    "C:\\x\\ct.nii.gz",
    "ct.nii.gz",
    "set/nul\0.nii.gz",
]
LINES += [
    "set\\..\\..\\outside\\x.nii.gz",
    "link/case/ct.nii.gz",
    "set/scan.nii.gz\t../outside/case/ct.nii.gz",
    ".set/scan.nii.gz",
    "a\x0bb",
]


@pytest.mark.parametrize("line", LINES)
def test_a_list_cannot_lead_outside_its_data_root(place: Place, line: str) -> None:
    root = place.folder / "root"
    (root / "set").mkdir(parents=True)
    shutil.copy(place.folder / "inputs/ct.nii.gz", root / "set/scan.nii.gz")
    (root / "link").symlink_to(place.folder / "outside")
    (place.folder / "list.txt").write_text(f"set/scan.nii.gz\n{line}\n" if "\t" not in line else line, encoding="utf-8")
    before = listing(place.data)
    refused(place.segment(ct=None, list="list.txt", data_root="root"))
    assert listing(place.data) == before


@pytest.mark.parametrize("name", ["two words", NFC, "患者 7", "=cmd()", "-rf"])
def test_a_list_takes_harmless_names(place: Place, name: str) -> None:
    (place.folder / "root" / name).mkdir(parents=True)
    shutil.copy(place.folder / "inputs/ct.nii.gz", place.folder / "root" / name / f"{name}.nii.gz")
    (place.folder / "list.txt").write_text(f"{name}/{name}.nii.gz\n", encoding="utf-8")
    assert place.segment(ct=None, list="list.txt", data_root="root").code == 0
    assert (place.data / name / name / "ct.nii.gz").is_file()


LINKED = ["case", "case/backbones", "case/backbones/tiny-1", "case/average", "case/average/segmentations", "case/average/attention"]


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("linked", LINKED)
def test_a_linked_folder_that_leads_outside_is_refused(place: Place, linked: str) -> None:
    shutil.rmtree(place.data / linked)
    (place.data / linked).symlink_to(place.folder / "outside" / linked)
    for command in ("average", "attention", "priority"):
        refused(place.atlas(command, "data"))
    refused(place.segment(case="case"))
    refused(place.atlas("assemble", "data", "--out=release", own="release"))
    if linked != "case":  # who names a link means what it leads to
        refused(revise(place, mask="inputs/ct.nii.gz"))
    assert not (place.folder / "release").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("linked", ["case", "case/segmentations"])
def test_a_linked_folder_in_a_release_is_not_written_through(place: Place, linked: str) -> None:
    (place.folder / "release" / linked).parent.mkdir(parents=True)
    (place.folder / "release" / linked).symlink_to(place.folder / "outside/case")
    refused(place.atlas("assemble", "data", "--out=release", own="release"))


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_linked_folder_that_stays_inside_is_used(place: Place) -> None:
    (place.data / "case/backbones").rename(place.data / "store")
    (place.data / "case/backbones").symlink_to("../store")
    assert place.atlas("average", "data/case", "--force").code == 0


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_linked_file_is_replaced_and_never_written_through(place: Place) -> None:
    for name in ("average/segmentations/liver.nii.gz", "average/run.json"):
        (place.data / "case" / name).unlink()
        (place.data / "case" / name).symlink_to(place.folder / "outside/secret.txt")
    before = listing(place.folder / "outside")
    assert run_program(["average", "data", "--force"], place.folder).code == 0
    assert listing(place.folder / "outside") == before
    assert not (place.data / "case/average/segmentations/liver.nii.gz").is_symlink()


def test_a_formula_in_a_name_is_no_formula_in_a_table(place: Place) -> None:
    assert place.segment(case="=cmd()").code == 0
    assert place.atlas("average", "data").code == 0
    assert place.atlas("attention", "data").code == 0
    assert place.atlas("priority", "data").code == 0
    assert revise(place, reader="=cmd()", comment="=cmd()").code == 0
    for table in (place.data / "priority_scores.csv", place.data / "case/average/revisions/spleen/log.csv"):
        cells = [cell for line in table.read_text().splitlines() for cell in line.split(",")]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "-"))], table


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=60) | st.text("./\\ ~a:\0\n=-", min_size=1, max_size=12))
def test_any_name_stays_inside_the_dataset(place: Place, name: str) -> None:
    """Each place where a name comes in, with the same name; the fixture's folder is shared by the examples."""
    make_model(place.folder / "inputs/model1", "tiny-1")
    place.segment(case=name)
    revise(place, reader=name)
    revise(place, organ=name)
    place.atlas("priority", "data/case", f"--name={name}")
    (place.folder / "list.txt").write_text(name, encoding="utf-8", errors="surrogateescape")
    place.segment(ct=None, list="list.txt", data_root="root")
    make_model(place.folder / "inputs/model1", name, organs=(name,))
    place.segment(case="new")
    shutil.rmtree(place.data / "new", ignore_errors=True)


def test_model_files_are_read_beside_their_model_json_only(place: Place) -> None:
    model = place.folder / "inputs/model1"
    manifest = read_json(model / "model.json")
    shutil.copy(model / "model.onnx", place.folder / "outside/model.onnx")
    for file in ("../../outside/model.onnx", str(place.folder / "outside/model.onnx")):
        (model / "model.json").write_text(json.dumps({**manifest, "file": file}))
        refused(place.segment(case="new"))
