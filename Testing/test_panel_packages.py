"""Packages are asked for once, in Apply; nobody is ever surprised by an installation."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib import metadata
from subprocess import CalledProcessError
from typing import Any

import pytest

WANTED = ["pydantic>=2.5", "onnxruntime>=1.21"]


@pytest.fixture(params=[(5, 12), (5, 10)], ids=["5.12", "5.10"])
def slicer_version(request: pytest.FixtureRequest, slicer_app: Any) -> Iterator[tuple[int, int]]:  # noqa: ARG001
    """Run the test as in Slicer 5.12, which has slicer.packaging, and as in 5.10, which has not."""
    from slicer_standin import application

    application.set_version(request.param)
    yield request.param
    application.set_version((5, 12))


@pytest.fixture
def pip(slicer_version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ARG001
    """Return what pip was asked; `installed` of it names what counts as installed."""
    from slicer_standin.installer import recorder

    recorder.reset()
    present = {"pydantic": "2.11.0", "onnxruntime": "1.23.0"}

    def version(name: str) -> str:
        if name in present:
            return present[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr("slicer_standin.installer.version", version)
    yield types.SimpleNamespace(recorder=recorder, present=present)
    recorder.reset()


def asked(pip: Any) -> list[str]:
    return [requirement for call in pip.recorder.installed for requirement in call]


def ensure(*arguments: Any, **options: Any) -> bool:
    from AtlasSegmentLib.panel_packages import ensurePackages

    return ensurePackages(*arguments, **options)


def test_nothing_is_asked_where_all_is_there(pip: Any, answers: Any) -> None:
    assert not ensure(WANTED, "Atlas Segment", optional=["isal>=1.6"])
    assert answers.shown == []
    assert asked(pip) == []


def test_what_is_missing_is_asked_for_once_and_installed(pip: Any, answers: Any) -> None:
    pip.present.clear()
    released = []
    answers.yes()
    assert ensure(WANTED, "Atlas Segment", optional=["isal>=1.6"], release=lambda: released.append(len(asked(pip))))
    ((kind, text),) = answers.shown
    assert kind == "question"
    assert "3 Python packages" in text
    assert all(name in answers.details[0] for name in ("pydantic", "onnxruntime", "isal"))
    assert asked(pip) == [*WANTED, "isal>=1.6"]
    assert released == [0]  # before anything was changed


def test_a_refusal_changes_nothing(pip: Any, answers: Any) -> None:
    from AtlasSegmentLib.panel_packages import PackagesDeclined

    del pip.present["onnxruntime"]
    answers.no()
    with pytest.raises(PackagesDeclined, match=r"Atlas Segment needs were not installed\..*Apply"):
        ensure(WANTED, "Atlas Segment")
    assert asked(pip) == []


def test_a_failing_pip_is_told_with_the_next_step(pip: Any, answers: Any) -> None:
    from AtlasSegmentLib.panel_packages import PackagesFailed

    del pip.present["onnxruntime"]
    pip.recorder.fails = True
    answers.yes()
    with pytest.raises(PackagesFailed, match="could not be installed") as caught:
        ensure(WANTED, "Atlas Segment")
    assert isinstance(caught.value.__cause__, CalledProcessError)
    assert caught.value.remedy


def test_the_gpu_build_replaces_the_cpu_build_only_after_asking(pip: Any, answers: Any) -> None:
    gpu = ["onnxruntime-gpu[cuda,cudnn]>=1.21"]
    answers.yes()
    assert ensure(gpu, "Atlas Segment")
    ((kind, text),) = answers.shown
    assert kind == "question"
    assert "onnxruntime must be uninstalled before onnxruntime-gpu" in text
    assert pip.recorder.uninstalled == [["onnxruntime"]]
    assert asked(pip) == gpu


def test_a_refused_replacement_keeps_the_cpu_build(pip: Any, answers: Any) -> None:
    from AtlasSegmentLib.panel_packages import PackagesDeclined

    answers.no()
    with pytest.raises(PackagesDeclined):
        ensure(["onnxruntime-gpu>=1.21"], "Atlas Segment")
    assert pip.recorder.uninstalled == []
    assert asked(pip) == []


def test_nothing_is_installed_under_test(pip: Any, slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pip.present.clear()
    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda _self: True)
    assert not ensure(WANTED, "Atlas Segment")
    assert asked(pip) == []


@pytest.mark.parametrize("name", ["torch>=2", "numpy>=1", "SimpleITK>=2", "requests>=2"])
def test_what_slicer_or_another_extension_brings_is_never_asked_of_pip(pip: Any, name: str) -> None:
    with pytest.raises(ValueError, match="must not be installed"):
        ensure([name], "Atlas Segment")
    assert asked(pip) == []


@pytest.mark.usefixtures("slicer_app")
def test_torch_comes_from_its_extension_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasSegmentLib.panel_packages import PackagesDeclined, PackagesFailed, ensureTorch

    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(PackagesFailed, match="extension PyTorch, which is not installed") as caught:
        ensureTorch("Atlas Segment")
    assert "Extensions Manager" in caught.value.remedy

    given: list[Any] = ["the module torch", None]

    class Logic:
        def installTorch(self, askConfirmation: bool) -> Any:  # noqa: N802, N803
            assert askConfirmation
            return given.pop(0)

    utilities = types.ModuleType("PyTorchUtils")
    utilities.PyTorchUtilsLogic = Logic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    assert ensureTorch("Atlas Segment") == "the module torch"
    with pytest.raises(PackagesDeclined):
        ensureTorch("Atlas Segment")


def test_what_would_replace_slicers_torch_is_installed_alone_and_named_in_the_one_question(pip: Any, answers: Any) -> None:
    answers.yes()
    assert ensure([*WANTED, "safetensors>=0.4", "monai>=1.4", "dynamic-network-architectures>=0.4"], "Atlas Segment")
    assert [kind for kind, _text in answers.shown] == ["question"]
    assert all(name in answers.details[0] for name in ("safetensors", "monai", "dynamic-network-architectures"))
    assert pip.recorder.installed == [
        ["safetensors>=0.4"],
        ["--no-deps", "monai>=1.4"],
        ["--no-deps", "dynamic-network-architectures>=0.4"],
    ]


def test_refusing_what_is_installed_alone_changes_nothing(pip: Any, answers: Any) -> None:
    from AtlasSegmentLib.panel_packages import PackagesDeclined

    answers.no()
    with pytest.raises(PackagesDeclined):
        ensure(["safetensors>=0.4", "monai>=1.4"], "Atlas Segment")
    assert pip.recorder.installed == []


@pytest.mark.usefixtures("slicer_version")
def test_torch_is_not_asked_for_under_test(pip: Any, slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasSegmentLib.panel_packages import ensureNeeds

    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda _self: True)
    ensureNeeds(["torch", "nnunet", "onnx"], "auto", "Atlas Segment")
    assert asked(pip) == []
