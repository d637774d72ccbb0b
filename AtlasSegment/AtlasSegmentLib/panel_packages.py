"""Install Python packages, after asking, at the moment they are needed: inside Apply, never at import or when a panel opens."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from subprocess import CalledProcessError
from types import ModuleType
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib import packages
from AtlasSegmentLib.errors import AtlasError

_log = logging.getLogger(__name__)
FORBIDDEN = ("torch", "torchvision", "numpy", "scipy", "simpleitk", "vtk", "pydicom", "requests")
"""What Slicer ships or another extension installs: never asked of pip."""


class PackagesDeclined(AtlasError):  # noqa: N818 - an answer of the user, no fault
    """The user does not want the packages; nothing was changed."""


class PackagesFailed(AtlasError):  # noqa: N818 - beside PackagesDeclined
    """The packages could not be installed."""


def ensurePackages(
    requirements: Sequence[str], requester: str, *, optional: Sequence[str] = (), release: Callable[[], None] | None = None
) -> bool:
    """Make sure that packages are installed, asking once.

    Args:
        requirements: What is needed, such as `packages.requirements(device="gpu")` gives.
        requester: Who asks, such as "Atlas Segment".
        optional: Offered together with what is needed, never alone.
        release: Called before anything is changed: lets go of child processes that have the packages loaded.

    Returns:
        Whether something was installed; child processes have to be started anew then.

    Raises:
        PackagesDeclined: The user said no.
        PackagesFailed: pip failed; the message says how to see why.
    """
    slicerPackaging = _slicerPackaging()
    judge = None if slicerPackaging is None else slicerPackaging.pip_check
    plan = packages.plan(requirements, judge)
    if not plan.install:
        return False
    install = [*plan.install, *packages.plan(optional, judge).install]
    _refuseForbidden(install)
    if slicer.app.testingEnabled():
        _log.info("Testing mode is enabled: %s not installed", ", ".join(install))
        return False
    if plan.remove:
        _confirmReplacement(plan, requester)
    if release is not None:
        release()
    try:
        if plan.remove:
            slicer.util.pip_uninstall(" ".join(plan.remove))
        _install(install, requester, slicerPackaging, ask=not plan.remove)
    except CalledProcessError as error:
        message = _("The Python packages for {requester} could not be installed.").format(requester=requester)
        raise PackagesFailed(message, _("Check the internet connection and look at the Python console for the reason.")) from error
    importlib.invalidate_caches()
    return True


def ensureTorch(requester: str) -> Any:
    """Return the module torch, installed through the PyTorch extension, which asks the user.

    Raises:
        PackagesDeclined: The user said no.
        PackagesFailed: The extension is not installed, or failed.
    """
    try:
        utilities = importlib.import_module("PyTorchUtils")
    except ImportError as error:
        message = _("{requester} needs the extension PyTorch, which is not installed.").format(requester=requester)
        remedy = _("Open the Extensions Manager, install PyTorch, and restart Slicer.")
        raise PackagesFailed(message, remedy) from error
    try:
        torch = utilities.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    except CalledProcessError as error:
        message = _("PyTorch could not be installed.")
        remedy = _("Open the module PyTorch Util to see why, or choose another version there.")
        raise PackagesFailed(message, remedy) from error
    if torch is None:
        raise _declined(requester)
    return torch


def _slicerPackaging() -> ModuleType | None:
    """Return `slicer.packaging` of Slicer 5.12 and later (`import packaging` would be another package), None in older ones."""
    try:
        from slicer import packaging
    except ImportError:
        return None
    return packaging if hasattr(packaging, "pip_ensure") else None


def _install(install: list[str], requester: str, slicerPackaging: ModuleType | None, *, ask: bool) -> None:
    if slicerPackaging is not None:
        try:
            slicerPackaging.pip_ensure(install, requester=requester, prompt_install=ask)
        except RuntimeError as error:
            raise _declined(requester) from error
        return
    if ask:
        title = _("{requester}: install Python packages").format(requester=requester)
        message = _("{count} Python packages need to be installed into Slicer. Continue?").format(count=len(install))
        _confirm(message, title, install, requester)
    for requirement in install:
        slicer.util.pip_install(requirement)


def _confirmReplacement(plan: packages.Plan, requester: str) -> None:
    title = _("{requester}: replace Python packages").format(requester=requester)
    message = _(
        "Only one build of ONNX Runtime can be installed. {present} must be uninstalled before {wanted} is installed. Do this now?"
    ).format(present=", ".join(plan.remove), wanted=", ".join(plan.install))
    _confirm(message, title, [*(_("uninstall {name}").format(name=name) for name in plan.remove), *plan.install], requester)


def _confirm(message: str, title: str, lines: Sequence[str], requester: str) -> None:
    if not slicer.util.confirmOkCancelDisplay(message, title, detailedText="\n".join(lines)):
        raise _declined(requester)


def _declined(requester: str) -> PackagesDeclined:
    message = _("The Python packages that {requester} needs were not installed.").format(requester=requester)
    return PackagesDeclined(message, _("Press Apply again to install them."))


def _refuseForbidden(install: Sequence[str]) -> None:
    wrong = [text for text in install if packages.parse(text).name in FORBIDDEN]
    if wrong:
        message = f"{', '.join(wrong)} must not be installed by Atlas Annotator"
        raise ValueError(message)
