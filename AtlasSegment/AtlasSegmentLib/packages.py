"""Which Python packages a feature needs, and which of them are missing; nothing is installed here."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import get_args

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.model_facts import Need

FILE = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"
FASTER, DICOM_SEG = "faster", "dicom-seg"
TORCH: Need = "torch"
WITHOUT_DEPENDENCIES = frozenset({"dynamic-network-architectures", "monai"})
"""Installed alone. They ask for torch, which is the PyTorch extension's to install, for numpy, which Slicer has, and for timm
(and with it torchvision), which what is used of them does not need; pip would exchange Slicer's torch for another one."""

CPU_BUILD, GPU_BUILD = "onnxruntime", "onnxruntime-gpu"
_OTHER_BUILDS = ("onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm", "onnxruntime-silicon")
_GPU_EXTRAS = "[cuda,cudnn]"  # the libraries of CUDA and cuDNN, which a computer with an NVIDIA driver alone lacks
_FEATURE = re.compile(r"#\s*([a-z-]+):")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^]]*\])?\s*(?:>=\s*(\d+(?:\.\d+)*))?")


@dataclass(frozen=True)
class Requirement:
    """A package with its lowest version.

    Attributes:
        name: Of the distribution, lower case with hyphens.
        minimum: Lowest version, "" for any.
        extras: Such as "[cuda]", "" for none.
    """

    name: str
    minimum: str = ""
    extras: str = ""

    def __str__(self) -> str:
        """Return it as pip takes it."""
        return f"{self.name}{self.extras}{'>=' if self.minimum else ''}{self.minimum}"


@dataclass(frozen=True)
class Plan:
    """What has to be done so that requirements are met.

    Attributes:
        install: Requirements for pip; empty when all are met.
        remove: Names of packages that must be uninstalled first.
    """

    install: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def parse(text: str) -> Requirement:
    """Return what "name[extras]>=version" says. Raises InputError for any other form: ours are all lower bounds."""
    match = _REQUIREMENT.fullmatch(text.strip())
    if match is None:
        message = f"{text!r}: is no requirement of the form name>=version."
        raise InputError(message, "Install Atlas Annotator again.")
    return Requirement(re.sub(r"[-_.]+", "-", match[1]).lower(), match[3] or "", match[2] or "")


def requirements(feature: str, device: Device = "auto", path: Path = FILE) -> list[str]:
    """Return what a feature needs, as pip takes it.

    Args:
        feature: A need of a model, FASTER or DICOM_SEG.
        device: With "gpu" the GPU build of ONNX Runtime takes the place of the CPU build, where there is one.
        path: The requirements file.

    Raises:
        InputError: The file is missing or has no such feature.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})."
        raise InputError(message, "Install Atlas Annotator again.") from error
    found: list[str] = []
    current = ""
    for line in map(str.strip, lines):
        heading = _FEATURE.match(line)
        current = heading[1] if heading else current
        if line and not line.startswith("#") and current == feature:
            found.append(line)
    if not found:
        message = f"{path}: names no packages for {feature!r}."
        raise InputError(message, "Install Atlas Annotator again.")
    return [_for_device(parse(line), device) for line in found]


def requirements_of(needs: Iterable[Need], device: Device = "auto") -> list[str]:
    """Return what models need of pip, each once and in the order of Need; Torch is none of it. Raises InputError."""
    wanted = {*needs}
    features = [need for need in get_args(Need) if need in wanted and need != TORCH]
    return list(dict.fromkeys(line for feature in features for line in requirements(feature, device)))


def _for_device(requirement: Requirement, device: Device) -> str:
    has_build = sys.platform != "darwin" and platform.machine().lower() in ("x86_64", "amd64")
    if requirement.name == CPU_BUILD and device == "gpu" and has_build:
        return str(Requirement(GPU_BUILD, requirement.minimum, _GPU_EXTRAS))
    return str(requirement)


def plan(wanted: Sequence[str], is_met: Callable[[str], bool] | None = None) -> Plan:
    """Compare requirements with what is installed.

    Every build of ONNX Runtime gives the same module, so the one that is there is kept, with one exception: where the GPU build is
    wanted and the CPU build is there, that must go first. Two builds at once have damaged each other, so both must go.

    Args:
        wanted: Requirements as pip takes them.
        is_met: Judges a requirement, such as Slicer's `pip_check`; by default `is_installed`.
    """
    judge = is_met or is_installed
    builds = [name for name in (CPU_BUILD, GPU_BUILD, *_OTHER_BUILDS) if installed_version(name) is not None]
    install: list[str] = []
    remove: list[str] = []
    for requirement in map(parse, wanted):
        if requirement.name not in (CPU_BUILD, GPU_BUILD) or not builds:
            install += [] if judge(str(requirement)) else [str(requirement)]
        elif len(builds) > 1 or (requirement.name == GPU_BUILD and builds == [CPU_BUILD]):
            remove += builds
            install.append(str(requirement))
        else:
            kept = str(Requirement(builds[0], requirement.minimum))
            install += [] if judge(kept) else [kept]
    return Plan(tuple(install), tuple(remove))


def is_installed(text: str) -> bool:
    """Tell whether a requirement's package is installed in a version that is high enough; its extras are not looked at."""
    requirement = parse(text)
    version = installed_version(requirement.name)
    return version is not None and release(version) >= release(requirement.minimum or "0")


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, None when it is not there."""
    try:
        found: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    return found  # None where an installation was interrupted


def release(version: str) -> tuple[tuple[int, ...], bool]:
    """Return what versions are compared by: the numbers of the release without zeros at the end, and whether it is final.

    "1.21.0" equals "1.21"; "1.21rc1" and "1.21.dev3" come before it, "1.21+cpu" and "1.21.post1" do not.
    """
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)(.*)", version.strip())
    if match is None:
        return (), False
    numbers = [int(part) for part in match[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)", match[2]) is None
