"""`slicer.packaging` and slicer.util.pip_install: what a module asks to be installed is recorded, and nothing is installed."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import Requirement

from .translation import tr as _

PUBLIC = ("load_requirements", "pip_check", "pip_ensure", "pip_install", "pip_uninstall", "isPipInstallInProgress")
Requirements = str | Requirement | list[str | Requirement]


class Recorder:
    """What was asked of pip, and how it shall answer (of the stand-in, not of Slicer)."""

    def __init__(self) -> None:
        self.installed: list[list[str]] = []
        self.uninstalled: list[list[str]] = []
        self.missing: set[str] = set()
        self.fails = False

    def reset(self) -> None:
        """Forget all calls; no package is missing that is there, and pip succeeds."""
        self.__init__()  # type: ignore[misc]

    def pretend_missing(self, *names: str) -> None:
        """Let these packages count as not installed until pip_install names them."""
        self.missing.update(_canonical(name) for name in names)


recorder = Recorder()


def load_requirements(path: str | Path) -> list[Requirement]:
    """Return the requirements of a requirements.txt; comments and empty lines are left out."""
    lines = [line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pip_check(req: Requirements) -> bool:
    """Return whether all requirements are satisfied."""
    return all(_satisfied(requirement) for requirement in _requirements(req))


def pip_ensure(  # noqa: PLR0917 - Slicer's signature
    requirements: Requirements,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,  # noqa: ARG001
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask for and install what is missing. Raises RuntimeError when the user says no."""
    missing = [requirement for requirement in _requirements(requirements) if not _satisfied(requirement)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("Testing mode is enabled: skipping pip_ensure for %s", missing)
        return None
    if prompt_install and not _confirmed(missing, requester):
        message = "User declined package installation"
        raise RuntimeError(message)
    names = [str(requirement) for requirement in missing]
    return pip_install(names, constraints=constraints, skip_packages=skip_packages, show_progress=show_progress, requester=requester)


def _confirmed(missing: list[Requirement], requester: str | None) -> bool:
    title = _("{requester} - Install Python Packages").format(requester=requester) if requester else _("Install Python Packages")
    question = _("{count} Python packages need to be installed.\n\nThis will modify Slicer's Python environment. Continue?")
    packages = "\n".join(f"- {requirement}" for requirement in missing)
    return bool(slicer.util.confirmOkCancelDisplay(question.format(count=len(missing)), title, detailedText=packages))


def pip_install(  # noqa: PLR0913, PLR0917 - Slicer's signature
    requirements: str | list[str],
    constraints: str | Path | None = None,  # noqa: ARG001
    no_deps_requirements: str | list[str] | None = None,  # noqa: ARG001
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,  # noqa: ARG001
    requester: str | None = None,  # noqa: ARG001
    logCallback: Callable[[str], None] | None = None,  # noqa: ARG001
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Record the request. Raises CalledProcessError when the test lets pip fail."""
    arguments = requirements.split() if isinstance(requirements, str) else [str(item) for item in requirements]
    recorder.installed.append(arguments)
    if recorder.fails:
        if blocking:
            raise subprocess.CalledProcessError(1, ["pip", "install", *arguments])
    else:
        recorder.missing -= {_canonical(re.split(r"[\s<>=!~;\[]", argument)[0]) for argument in arguments}
    if completedCallback is not None and not blocking:
        completedCallback(int(recorder.fails))
    return [] if skip_packages else None


def pip_uninstall(requirements: str | list[str], **kwargs: Any) -> None:  # noqa: ARG001 - Slicer's signature
    """Record the request."""
    recorder.uninstalled.append(requirements.split() if isinstance(requirements, str) else list(requirements))


def isPipInstallInProgress() -> bool:
    return False


def _requirements(requirements: Requirements) -> list[Requirement]:
    items: Any = requirements.split() if isinstance(requirements, str) else requirements
    items = items if isinstance(items, list) else [items]
    return [item if isinstance(item, Requirement) else Requirement(item) for item in items]


def _satisfied(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    if _canonical(requirement.name) in recorder.missing:
        return False
    try:
        return version(requirement.name) in requirement.specifier
    except PackageNotFoundError:
        return False


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
