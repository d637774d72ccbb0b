"""Whatever is wrong with a model folder is told before anything runs: the file, the field and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import FIT, ORGANS, WINDOWS, make_model
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.model_manifest import read_manifest

NAN, INF = float("nan"), float("inf")
BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("format", {"format": "atlas-model/9"}),
    ("engine", {"engine": "magic"}),
    ("name", {"name": ".."}),
    ("name", {"name": "a/b"}),
    ("name", {"name": ""}),
    ("file", {"file": "../model.onnx"}),
    ("file", {"file": "/etc/passwd"}),
    ("sha256", {"sha256": "z" * 64}),
    ("sha256", {"sha256": "ab"}),
    ("input", {"input": {**WINDOWS, **FIT}}),
    ("input", {"input": {"orientation": "RAS"}}),
    ("input", {"input": {**FIT, "patch": [8, 8, 8]}}),
    ("input", {"input": {**FIT, "spacing": [1, 1, 1]}}),
    ("input", {"input": {"spacing": [1, 1, 1]}}),
    ("input", {"input": {"patch": [8, 8, 8]}}),
    ("input.orientation", {"input": {**FIT, "orientation": "RAX"}}),
    ("input.fit_shape", {"input": {"fit_shape": [8, 0, 8]}}),
    ("input.fit_shape", {"input": {"fit_shape": [8, 8]}}),
    ("input.spacing", {"input": {**WINDOWS, "spacing": [1, -1, 1]}}),
    ("input.spacing", {"input": {**WINDOWS, "spacing": [1, NAN, 1]}}),
    ("input.spacing", {"input": {**WINDOWS, "spacing": [1, INF, 1]}}),
    ("input.overlap", {"input": {**WINDOWS, "overlap": 1}}),
    ("input.intensity", {"input": {**FIT, "intensity": {"type": "gamma"}}}),
    ("input.intensity", {"input": {**FIT, "intensity": {"type": "clip_scale", "a_min": 5, "a_max": 5}}}),
    ("input.intensity", {"input": {**FIT, "intensity": {"type": "clip_scale", "a_min": NAN}}}),
    ("input.intensity", {"input": {**FIT, "intensity": {"type": "clip_normalize", "std": 0}}}),
    ("input.orientation", {"input": {**WINDOWS, "orientation": "RAX"}}),
    ("input", {"input": {**WINDOWS, "orientation": ""}}),
    ("input", {"input": {**FIT, "grid": "centers"}}),
    ("input.grid", {"input": {**WINDOWS, "grid": "corners"}}),
    ("input.weights", {"input": {**WINDOWS, "weights": "cosine"}}),
    ("input.mirror_axes", {"input": {**WINDOWS, "mirror_axes": [3]}}),
    ("input.intensity_after", {"input": {**WINDOWS, "intensity_after": [{"type": "gamma"}]}}),
    ("output", {"output": {"activation": "softmax", "background": False}}),
    ("output.threshold", {"output": {"activation": "sigmoid", "threshold": 1}}),
    ("output.decide", {"output": {"decide": "dice"}}),
    ("text_encoding", {"text_encoding": "../text.pth"}),
    ("output.activation", {"output": {"activation": "tanh"}}),
    ("labels", {"labels": {}}),
    ("labels", {"labels": {"0": "background"}}),
    ("labels", {"labels": {"-1": "liver"}}),
    ("labels", {"labels": {"one": "liver"}}),
    ("labels", {"labels": {"1": "../x"}}),
    ("labels", {"labels": {"1": "liver", "2": "liver"}}),
    ("labels", {"labels": {"1": "gall_bladder", "2": "gallbladder"}}),
    ("labels", {"labels": {"1": "liver_revised"}}),
]


@pytest.mark.parametrize(("field", "changes"), BAD_FIELDS, ids=[f"{field}-{n}" for n, (field, _) in enumerate(BAD_FIELDS)])
def test_a_bad_field_is_refused_with_file_and_field(tmp_path: Path, field: str, changes: dict[str, Any]) -> None:
    folder = make_model(tmp_path / "m", **{"name": "tiny", **changes})
    with pytest.raises(ModelError) as caught:
        read_manifest(folder)
    assert f"{folder / 'model.json'}: field {field}" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"labels": null}', "\xff"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"model\.json"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not an atlas model folder \(model\.json is missing\)"):
        read_manifest(tmp_path)


def test_a_softmax_model_has_a_channel_for_background_and_a_sigmoid_model_has_none(tmp_path: Path) -> None:
    softmax = read_manifest(make_model(tmp_path / "a", "a"))
    sigmoid = read_manifest(make_model(tmp_path / "b", "b", output={"activation": "sigmoid"}))
    assert (softmax.channels, softmax.channel_of(2)) == (4, 2)
    assert (sigmoid.channels, sigmoid.channel_of(2)) == (3, 1)
    assert tuple(softmax.table.names()) == ORGANS


@pytest.mark.parametrize(
    ("shape", "asked", "needs"), [(FIT, None, True), (WINDOWS, None, False), (FIT, False, False), (WINDOWS, True, True)]
)
def test_fit_to_shape_models_need_a_roi_unless_they_say_otherwise(
    tmp_path: Path, shape: dict[str, Any], asked: bool | None, needs: bool
) -> None:
    said = {} if asked is None else {"requires_roi": asked}
    assert read_manifest(make_model(tmp_path, "m", input={**shape, **said})).needs_roi is needs


def test_keys_of_later_versions_are_kept(tmp_path: Path) -> None:
    spec = read_manifest(make_model(tmp_path, "m", measured={"dice": {"liver": 0.9}}))
    assert spec.model_dump()["measured"] == {"dice": {"liver": 0.9}}


def test_another_checksum_is_refused_and_both_are_shown(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "m", sha256="ab" * 32)
    with pytest.raises(ModelError, match=r"model\.onnx: SHA-256 is [0-9a-f]{12}\.\.\., but model\.json says abababababab\.\.\."):
        load_model(folder)


def test_a_checksum_in_capitals_is_the_same(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "m")
    digest = read_manifest(folder).sha256
    assert load_model(make_model(tmp_path, "m", sha256=digest.upper())).spec.name == "m"


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "m")
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: the network that model\.json names is missing"):
        load_model(folder)


def test_the_real_models_are_read(shared_models: list[Path]) -> None:
    for folder in shared_models:
        spec = read_manifest(folder)
        assert spec.channels == 9
        assert spec.needs_roi
