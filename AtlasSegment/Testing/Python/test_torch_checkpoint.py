"""Checkpoints: nnU-Net's own load, a program in one is refused and never runs, a damaged one is named, .safetensors is equal."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from AtlasSegmentLib.commands_model_convert import convert_command
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.torch_checkpoint import Checkpoint, load_checkpoint
from AtlasSegmentLib.torch_convert import checkpoints_in, convert_checkpoint
from nnunet_models import ORGANS, make_checkpoint, make_dataset, make_nnunet_model, make_plans, skip_transformers

WEIGHTS = {"encoder.conv.weight": torch.arange(24.0).reshape(2, 3, 4), "encoder.conv.bias": torch.tensor([0.5, -1.0])}


def nnunet_content(weights: dict[str, Any] = WEIGHTS, mirror_axes: Any = (0, 1, 2)) -> dict[str, Any]:
    """Return what nnU-Net's trainer saves."""
    plans = make_plans("new", "plain", (3.0, 2.0, 2.0), (16, 16, 16))
    return make_checkpoint(weights, plans, make_dataset(), configuration="3d_fullres", mirror_axes=mirror_axes)


def saved(path: Path, content: Any, **options: Any) -> Path:
    """Save with torch.save; return the path."""
    torch.save(content, path, **options)
    return path


def equal(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Tell whether two sets of weights have the same names, types and values."""
    same = list(found) == list(expected)
    return same and all(found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items())


def refusal(path: Path) -> ModelError:
    """Return the error that a file is refused with; it names the file and has a next step."""
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    assert path.name in caught.value.message
    assert caught.value.remedy
    return caught.value


class Program:
    """Becomes a call of any function when it is unpickled the ordinary way."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def test_a_checkpoint_is_read_with_what_it_says_about_itself(tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoint_final.pth", nnunet_content())
    found = load_checkpoint(path)
    assert equal(found.weights, WEIGHTS)
    assert (found.trainer, found.configuration, found.mirror_axes) == ("nnUNetTrainer", "3d_fullres", (0, 1, 2))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checkpoint_that_nnunets_own_trainer_has_just_saved_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_transformers()
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    plans = make_plans("new", "plain", (3.0, 2.0, 2.0), (16, 16, 16))
    trainer = nnUNetTrainer({**plans, "continue_training": False}, "3d_fullres", 0, make_dataset(), torch.device("cpu"))
    prepared = Path(trainer.preprocessed_dataset_folder)
    prepared.mkdir(parents=True)
    (prepared / "case.npz").touch()
    (prepared / "case.pkl").touch()
    trainer.initialize()
    batch = {"data": torch.randn(2, 1, 16, 16, 16), "target": [torch.ones(2, 1, *[16 // scale] * 3) for scale in (1, 2)]}
    trainer.on_train_epoch_end([trainer.train_step(batch)])
    trainer.on_validation_epoch_end([trainer.validation_step(batch)])
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    trainer._best_ema = np.float64(0.5)
    trainer.save_checkpoint(str(tmp_path / "checkpoint_final.pth"))

    found = load_checkpoint(tmp_path / "checkpoint_final.pth")
    assert equal(found.weights, dict(trainer.network.state_dict()))
    assert (found.trainer, found.configuration, found.mirror_axes) == ("nnUNetTrainer", "3d_fullres", (0, 1, 2))


def test_checkpoints_of_numpy_1_are_read_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "new.pth", nnunet_content())
    old = tmp_path / "old.pth"
    with zipfile.ZipFile(path) as reader, zipfile.ZipFile(old, "w") as writer:
        for entry in reader.infolist():
            data = reader.read(entry)
            assert b"numpy._core.multiarray" in data or not entry.filename.endswith("data.pkl")
            writer.writestr(entry.filename.replace("new/", "old/"), data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert equal(load_checkpoint(old).weights, WEIGHTS)


def test_the_prefixes_of_parallel_and_compiled_networks_are_taken_off(tmp_path: Path) -> None:
    weights = {f"module._orig_mod.{name}": tensor for name, tensor in WEIGHTS.items()}
    assert equal(load_checkpoint(saved(tmp_path / "a.pth", nnunet_content(weights))).weights, WEIGHTS)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}])
def test_bare_weights_and_other_wrappings_are_read(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    found = load_checkpoint(saved(tmp_path / "a.pt", wrap(WEIGHTS)))
    assert equal(found.weights, WEIGHTS)
    assert (found.trainer, found.configuration, found.mirror_axes) == ("", "", None)


def test_the_format_before_pytorch_1_6_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "old.pth", nnunet_content(), _use_new_zipfile_serialization=False)
    assert equal(load_checkpoint(path).weights, WEIGHTS)


PROGRAMS = {
    "posix.system": lambda mark: Program(os.system, f"touch {mark}"),
    "eval": lambda mark: Program(eval, f"open({str(mark)!r}, 'w').close()"),
    "os.mkdir": lambda mark: Program(os.mkdir, str(mark)),
    "pathlib": lambda mark: Program(Path.touch, mark),
    "torch.serialization.load": lambda mark: Program(torch.load, str(mark)),
    "numpy.save": lambda mark: Program(np.save, str(mark), 0),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_a_checkpoint_is_refused_named_and_not_run(tmp_path: Path, name: str, legacy: bool) -> None:
    mark = tmp_path / "it_ran"
    content = {**nnunet_content(), "logging": PROGRAMS[name](mark)}
    error = refusal(saved(tmp_path / "evil.pth", content, _use_new_zipfile_serialization=not legacy))
    assert not mark.exists()
    assert "nothing of it was run" in error.message
    assert name.rpartition(".")[2] in error.message
    assert "OrderedDict" not in error.message
    assert "torch.save" in error.remedy


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_bare_pickle_with_a_program_is_refused_whatever_its_protocol(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "it_ran"
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"network_weights": Program(os.mkdir, str(mark))}, protocol))
    message = refusal(path).message
    assert protocol == 0 or "mkdir" in message  # that one does not even look like a file of PyTorch
    assert not mark.exists()


def test_a_program_hidden_among_allowed_numpy_values_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    inner = pickle.dumps(Program(os.mkdir, str(mark)), 2)
    scalar = np.float64(0).__reduce__()[0]
    path = saved(tmp_path / "evil.pth", {**nnunet_content(), "logging": Program(scalar, np.dtype("O"), inner)})
    try:
        load_checkpoint(path)
    except ModelError as error:
        assert error.message  # noqa: PT017 - read or refused, but never run
    assert not mark.exists()


def test_the_restricted_readers_own_list_is_left_as_it_was(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(saved(tmp_path / "a.pth", nnunet_content()))
    refusal(saved(tmp_path / "evil.pth", Program(os.mkdir, "x")))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, part: float, legacy: bool) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content(), _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refusal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
def test_a_damaged_byte_gives_a_model_error_or_weights(tmp_path: Path, legacy: bool, place: float, value: int) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content(), _use_new_zipfile_serialization=not legacy)
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] = value
    path.write_bytes(data)
    try:
        load_checkpoint(path)
    except ModelError as error:
        assert error.message  # noqa: PT017 - any other error fails the test


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    weights = {**WEIGHTS, "encoder.conv.bias": torch.tensor([0.5, value])}
    assert "'encoder.conv.bias' holds values that are not finite" in refusal(saved(tmp_path / "a.pth", nnunet_content(weights))).message


def with_entries(path: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None], target: Path) -> Path:
    """Write a checkpoint's archive again with other entries."""
    with zipfile.ZipFile(path) as reader, zipfile.ZipFile(target, "w") as writer:
        for entry in reader.infolist():
            change(writer, entry, reader.read(entry))
    return target


@pytest.mark.parametrize("name", ["../evil.py", "a/../../evil.py", "/etc/evil", "a\\..\\..\\evil", "C:/evil"])
def test_an_archive_with_names_that_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"evil")
    assert "leads out of it" in refusal(path).message
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pth"]


def test_a_packed_archive_is_refused_for_it_may_unpack_to_anything(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content({"a": torch.zeros(100_000)}))
    packed = with_entries(path, lambda w, entry, data: w.writestr(entry.filename, data, zipfile.ZIP_DEFLATED), tmp_path / "b.pth")
    assert packed.stat().st_size < path.stat().st_size / 5
    assert "declares more than it holds" in refusal(packed).message


def test_one_packed_entry_is_enough_to_refuse_an_archive(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/extra", b"0" * 100, zipfile.ZIP_DEFLATED)
    assert "declares more than it holds" in refusal(path).message


def test_weights_larger_than_what_is_stored_for_them_are_refused(tmp_path: Path) -> None:
    spread = torch.zeros(1).expand(10**6, 10**6)
    assert "(1000000, 1000000) values, more than the file holds" in refusal(saved(tmp_path / "a.pth", {"a": spread})).message


@pytest.mark.parametrize("legacy", [False, True])
def test_a_declared_size_beyond_the_file_is_refused(tmp_path: Path, legacy: bool) -> None:
    count = 31_337
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(count)}, _use_new_zipfile_serialization=not legacy)
    small, huge = (b"M" + count.to_bytes(2, "little"), b"J" + (2**31 - 1).to_bytes(4, "little"))
    if legacy:
        path.write_bytes(path.read_bytes().replace(small, huge))
    else:
        with_entries(path, lambda w, e, data: w.writestr(e.filename, data.replace(small, huge)), tmp_path / "b.pth").replace(path)
    refusal(path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([torch.zeros(2)], "holds a list"),
        ({}, "there are none"),
        ({"network_weights": {}}, "there are none"),
        ({"network_weights": {"a": 3}}, "'a' is a int"),
        ({"network_weights": {3: torch.zeros(2)}}, "3 is a Tensor"),
        ({"network_weights": {"a": torch.zeros(2).to_sparse()}}, "no plain tensor"),
        ({"network_weights": {"a": torch.zeros(2, device="meta")}}, "no plain tensor"),
        ({"network_weights": {"a": torch.zeros(2, dtype=torch.complex64)}}, "no plain tensor"),
        ({"network_weights": WEIGHTS, "trainer_name": 3}, "trainer_name is 3"),
        ({"network_weights": WEIGHTS, "init_args": {"configuration": ["a"]}}, "configuration is ['a']"),
        ({"network_weights": WEIGHTS, "inference_allowed_mirroring_axes": (0, 3)}, "mirroring_axes is (0, 3)"),
        ({"network_weights": WEIGHTS, "inference_allowed_mirroring_axes": "all"}, "mirroring_axes is 'all'"),
        ({"network_weights": WEIGHTS, "inference_allowed_mirroring_axes": [1, 1]}, "mirroring_axes is [1, 1]"),
    ],
)
def test_content_that_is_no_checkpoint_is_named(tmp_path: Path, content: Any, part: str) -> None:
    assert part in refusal(saved(tmp_path / "a.pth", content)).message


def test_a_missing_file_and_a_placeholder_are_named(tmp_path: Path) -> None:
    assert "missing" in refusal(tmp_path / "none.pth").message
    (tmp_path / "lfs.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "Git LFS" in refusal(tmp_path / "lfs.pth").message


def test_without_torch_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pth", nnunet_content())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"needs the package torch.*pip install"):
        load_checkpoint(path)


def converted(folder: Path, content: Any) -> tuple[Checkpoint, Checkpoint]:
    """Return a checkpoint and what was read from its conversion."""
    path = saved(folder / "checkpoint_final.pth", content)
    return load_checkpoint(path), load_checkpoint(convert_checkpoint(path))


@pytest.mark.parametrize("mirror_axes", [None, (0, 1, 2), (1,)])
def test_a_converted_checkpoint_reads_back_equal(tmp_path: Path, mirror_axes: Any) -> None:
    original, found = converted(tmp_path, nnunet_content({**WEIGHTS, "steps": torch.tensor(3)}, mirror_axes))
    assert equal(dict(sorted(found.weights.items())), dict(sorted(original.weights.items())))
    assert (found.trainer, found.configuration, found.mirror_axes) == ("nnUNetTrainer", "3d_fullres", mirror_axes)
    assert found.path == tmp_path / "checkpoint_final.safetensors"
    assert found.sha256 != original.sha256


def test_conversion_keeps_the_original_and_every_parameter_once(tmp_path: Path) -> None:
    path = next(make_nnunet_model(tmp_path, folds=(0,)).glob("fold_0/*.pth"))
    before = path.read_bytes()
    target = convert_checkpoint(path)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["checkpoint_final.pth", "checkpoint_final.safetensors"]
    names = load_checkpoint(target).weights
    assert not any("all_modules" in name or name.startswith("decoder.encoder") for name in names)
    assert len(names) < len(load_checkpoint(path).weights) / 2


def test_what_cannot_be_loaded_is_not_converted(tmp_path: Path) -> None:
    path = saved(tmp_path / "evil.pth", Program(os.mkdir, str(tmp_path / "it_ran")))
    with pytest.raises(ModelError, match="nothing of it was run"):
        convert_checkpoint(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pth"]
    with pytest.raises(ModelError, match="already"):
        convert_checkpoint(tmp_path / "a.safetensors")


def test_a_conversion_that_does_not_read_back_equal_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    path = saved(tmp_path / "a.pth", nnunet_content())
    write = safetensors.torch.save_file
    monkeypatch.setattr(safetensors.torch, "save_file", lambda weights, *rest: write({n: w + 1 for n, w in weights.items()}, *rest))
    with pytest.raises(ModelError, match="did not read back equal"):
        convert_checkpoint(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_safetensors_file_cut_short_is_named(tmp_path: Path, part: float) -> None:
    path = convert_checkpoint(saved(tmp_path / "a.pth", nnunet_content()))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refusal(path)


@pytest.mark.parametrize("header", [b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}"])
def test_a_safetensors_file_with_an_odd_header_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(header)
    refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize("said", ["3", "{", "[]", '{"trainer": 3}', '{"mirror_axes": [7]}', '{"mirror_axes": {}}', "[" * 100_000])
def test_odd_metadata_of_a_safetensors_file_is_refused_or_left_out(tmp_path: Path, said: str) -> None:
    from safetensors.torch import save_file

    save_file(WEIGHTS, tmp_path / "a.safetensors", {"atlas": said})
    try:
        found = load_checkpoint(tmp_path / "a.safetensors")
    except ModelError as error:
        assert "a.safetensors" in error.message  # noqa: PT017
    else:
        assert (found.trainer, found.configuration, found.mirror_axes) == ("", "", None)


def test_values_that_are_not_finite_in_a_safetensors_file_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "a.safetensors")
    assert "not finite" in refusal(tmp_path / "a.safetensors").message


def run_convert(*arguments: str) -> Any:
    """Run the command by itself."""
    app = typer.Typer()
    app.command()(convert_command)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_converts_every_fold_and_says_the_sizes(tmp_path: Path) -> None:
    model = make_nnunet_model(tmp_path, folds=(0, 1), labels=ORGANS[:1])
    result = run_convert(str(model))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert all("checkpoint_final.safetensors: " in line and "(was " in line and "read back equal" in line for line in lines)
    files = json.loads(run_convert(str(model / "fold_1"), "--json").stdout)["files"]
    assert [file["file"] for file in files] == [str(model / "fold_1" / "checkpoint_final.safetensors")]
    assert 0 < files[0]["bytes"] < files[0]["bytes_before"]


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint_final\.pth"):
        checkpoints_in(tmp_path)
    with pytest.raises(ModelError, match="is not there"):
        checkpoints_in(tmp_path / "none")
