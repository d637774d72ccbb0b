"""Which packages are needed and missing; above all: never two builds of ONNX Runtime."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest

from AtlasSegmentLib import packages
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.model_facts import Need
from AtlasSegmentLib.packages import Plan, Requirement

GPU = "onnxruntime-gpu[cuda,cudnn]>=1.21"
CPU = "onnxruntime>=1.21"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says which distributions are installed."""

    def use(**versions: str | None) -> None:
        def version(name: str) -> str | None:
            try:
                return versions[name.replace("-", "_")]
            except KeyError:
                raise metadata.PackageNotFoundError(name) from None

        monkeypatch.setattr(metadata, "version", version)

    return use


@pytest.fixture
def pc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.usefixtures("pc")
@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_networks_as_onnx_need_exactly_one_build_of_onnx_runtime(device: Device) -> None:
    wanted = packages.requirements_of(["onnx", "manifest"], device)
    assert wanted == [GPU if device == "gpu" else CPU, "pydantic>=2.5"]


def test_models_need_their_own_packages_alone_and_each_once() -> None:
    assert packages.requirements_of(["onnx"]) == [CPU]
    assert packages.requirements_of([]) == packages.requirements_of(["torch"]) == []  # Torch is not pip's to install
    names = [packages.parse(line).name for line in packages.requirements_of(("torch", "nnunet", "monai", "manifest", "nnunet"))]
    assert names == ["pydantic", "dynamic-network-architectures", "monai", "einops"]


def test_every_need_but_torch_has_packages_and_none_of_them_is_torch() -> None:
    for need in get_args(Need):
        if need != packages.TORCH:
            assert not {packages.parse(line).name for line in packages.requirements(need)} & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("name", sorted(packages.WITHOUT_DEPENDENCIES))
def test_what_asks_for_torch_is_installed_without_its_dependencies_and_lacks_none_that_it_uses(name: str) -> None:
    try:
        asked = {re.split(r"[^\w-]", line)[0] for line in metadata.requires(name) or [] if "extra ==" not in line}
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert "torch" in asked
    assert asked <= {"torch", "numpy", "timm", "einops"}, "look whether the new dependency is used"


def test_the_networks_of_nnunet_are_built_without_timm_and_einops(tmp_path: Path, repository: Path) -> None:
    pytest.importorskip("dynamic_network_architectures")
    program = """
import json, sys
sys.modules.update(dict.fromkeys(["timm", "torchvision", "einops", "nnunetv2"]))
from AtlasSegmentLib.nnunet_network import build_network
from AtlasSegmentLib.nnunet_plans import parse_plans
from nnunet_models import make_plans
for network in ("plain", "residual"):
    plans = parse_plans(make_plans("new", network, (3.0, 2.0, 2.0), (16, 16, 16)))
    build_network(plans.configuration("3d_fullres").architecture, 1, 4)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository / "AtlasSegment"), str(repository / "Testing")])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "aarch64")])
def test_where_there_is_no_gpu_build_the_one_build_is_asked_for(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert CPU in packages.requirements("onnx", device="gpu")


def test_each_feature_has_its_own_packages() -> None:
    assert [packages.parse(line).name for line in packages.requirements(packages.FASTER)] == ["isal", "connected-components-3d"]
    assert [packages.parse(line).name for line in packages.requirements(packages.DICOM_SEG)] == ["highdicom"]


def test_a_feature_or_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no packages for 'magic'"):
        packages.requirements("magic")
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        packages.requirements("onnx", path=tmp_path / "none.txt")


def test_nothing_is_to_do_where_all_is_there(installed: Callable[..., None]) -> None:
    installed(pydantic="2.11.0", onnxruntime="1.23.0")
    assert packages.plan(["pydantic>=2.5", CPU]) == Plan()


def test_what_is_missing_or_too_old_is_installed(installed: Callable[..., None]) -> None:
    installed(pydantic="1.10")
    assert packages.plan(["pydantic>=2.5", CPU]) == Plan(("pydantic>=2.5", CPU))


@pytest.mark.parametrize("wanted", [CPU, GPU])
@pytest.mark.parametrize("build", ["onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"])
def test_a_build_that_is_there_satisfies_every_wish(installed: Callable[..., None], wanted: str, build: str) -> None:
    installed(**{build.replace("-", "_"): "1.22.0"})
    assert packages.plan([wanted]) == Plan()


def test_an_old_build_is_renewed_and_not_joined_by_another(installed: Callable[..., None]) -> None:
    installed(onnxruntime_gpu="1.15")
    assert packages.plan([CPU]) == Plan(("onnxruntime-gpu>=1.21",))
    installed(onnxruntime="1.15")
    assert packages.plan([CPU]) == Plan((CPU,))


def test_the_cpu_build_goes_before_the_gpu_build_comes(installed: Callable[..., None]) -> None:
    installed(onnxruntime="1.23.0")
    assert packages.plan([GPU]) == Plan((GPU,), ("onnxruntime",))


def test_two_builds_have_damaged_each_other_so_both_go(installed: Callable[..., None]) -> None:
    installed(onnxruntime="1.23.0", onnxruntime_gpu="1.23.0")
    assert packages.plan([CPU]) == Plan((CPU,), ("onnxruntime", "onnxruntime-gpu"))


def test_another_judge_is_asked_about_each_requirement(installed: Callable[..., None]) -> None:
    installed(pydantic="2.11.0", onnxruntime_gpu="1.23.0")
    asked: list[str] = []

    def judge(text: str) -> bool:
        asked.append(text)
        return False

    assert packages.plan(["pydantic>=2.5", CPU], judge).install == ("pydantic>=2.5", "onnxruntime-gpu>=1.21")
    assert asked == ["pydantic>=2.5", "onnxruntime-gpu>=1.21"]


def test_a_package_whose_installation_was_interrupted_is_missing(installed: Callable[..., None]) -> None:
    installed(pydantic=None)
    assert not packages.is_installed("pydantic>=2.5")


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("pydantic>=2.5", Requirement("pydantic", "2.5")),
        ("  Connected_Components.3D >= 3.12 ", Requirement("connected-components-3d", "3.12")),
        (GPU, Requirement("onnxruntime-gpu", "1.21", "[cuda,cudnn]")),
        ("isal", Requirement("isal")),
    ],
)
def test_a_requirement_is_read(text: str, requirement: Requirement) -> None:
    assert packages.parse(text) == requirement


@pytest.mark.parametrize("text", ["", "numpy==1.2", "a<2", "a>=1,<2", "https://x/y.whl", "-r file", "a>=", "--index-url=http://x"])
def test_what_is_no_lower_bound_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no requirement"):
        packages.parse(text)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("1.9", "1.10"), ("1.21rc1", "1.21"), ("1.21.dev3", "1.21.0"), ("1.20.9", "1.21"), ("2", "2.0.1"), ("0.23", "1.0a1"), ("x", "0")],
)
def test_versions_are_compared_as_versions(smaller: str, larger: str) -> None:
    assert packages.release(smaller) < packages.release(larger)


@pytest.mark.parametrize("version", ["1.21", "1.21.0", "v1.21", "1.21+cpu", "1.21.post1", "1.21-1"])
def test_versions_that_count_as_the_same_release(version: str) -> None:
    assert packages.release(version) == packages.release("1.21")


@pytest.mark.parametrize("name", ["numpy", "pytest"])
def test_the_comparison_agrees_with_the_packages_of_this_environment(name: str) -> None:
    version = metadata.version(name)
    assert packages.is_installed(f"{name}>={'.'.join(version.split('.')[:2])}")
    assert not packages.is_installed(f"{name}>=999")
    assert not packages.is_installed("no-such-package>=1")
