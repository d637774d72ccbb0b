"""Install Python packages, after asking, at the moment they are needed: inside Apply, never at import or when a panel opens."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterable, Sequence
from subprocess import CalledProcessError
from types import ModuleType
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib import packages
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.model_facts import Need

_log = logging.getLogger(__name__)
TORCH_UTILITIES = "PyTorchUtils"
"""Module of the PyTorch extension."""

FORBIDDEN = ("torch", "torchvision", "numpy", "scipy", "simpleitk", "vtk", "pydicom", "requests")
"""What Slicer ships or another extension installs: never asked of pip."""


class PackagesDeclined(AtlasError):  # noqa: N818 - an answer of the user, no fault
    """The user does not want the packages; nothing was changed."""


class PackagesFailed(AtlasError):  # noqa: N818 - beside PackagesDeclined
    """The packages could not be installed."""


def ensureNeeds(needs: Iterable[Need], device: Device, requester: str, release: Callable[[], None] | None = None) -> None:
    """Make sure that what models need is installed: Torch through its extension, the rest by pip, asking once for each of the two.

    Args:
        needs: Of all models that shall run.
        device: Decides which build of ONNX Runtime.
        requester: See `ensurePackages`.
        release: See `ensurePackages`.

    Raises:
        PackagesDeclined: The user said no.
        PackagesFailed: The PyTorch extension is missing, or an installation failed.
    """
    needs = {*needs}
    if packages.TORCH in needs and not hasTorch() and not _isTesting(packages.TORCH):
        if release is not None:
            release()
        ensureTorch(requester)
    ensurePackages(packages.requirements_of(needs, device), requester, optional=packages.requirements(packages.FASTER), release=release)


def hasTorch() -> bool:
    """Tell whether Torch is installed; it is not loaded."""
    return packages.installed_version(packages.TORCH) is not None


def canGetTorch() -> bool:
    """Tell whether Torch is installed, or the PyTorch extension is there to install it."""
    return hasTorch() or importlib.util.find_spec(TORCH_UTILITIES) is not None


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
    if _isTesting(", ".join(install)):
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


def _isTesting(what: str) -> bool:
    """Tell whether Slicer runs tests, in which nothing is installed."""
    if slicer.app.testingEnabled():
        _log.info("Testing mode is enabled: %s not installed", what)
        return True
    return False


def ensureTorch(requester: str) -> Any:
    """Return the module torch, installed through the PyTorch extension, which asks the user.

    Raises:
        PackagesDeclined: The user said no.
        PackagesFailed: The extension is not installed, or failed.
    """
    try:
        utilities = importlib.import_module(TORCH_UTILITIES)
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
    alone = [text for text in install if packages.parse(text).name in packages.WITHOUT_DEPENDENCIES]
    others = [text for text in install if text not in alone]
    if ask and (alone or slicerPackaging is None):
        title = _("{requester}: install Python packages").format(requester=requester)
        message = _("{count} Python packages need to be installed into Slicer. Continue?").format(count=len(install))
        _confirm(message, title, install, requester)
        ask = False
    if slicerPackaging is not None and others:
        try:
            slicerPackaging.pip_ensure(others, requester=requester, prompt_install=ask)
        except RuntimeError as error:
            raise _declined(requester) from error
    else:
        for requirement in others:
            slicer.util.pip_install(requirement)
    for requirement in alone:
        slicer.util.pip_install(f"--no-deps {requirement}")


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
