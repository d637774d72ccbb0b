"""Fixtures for tests of the module panels on the stand-in for the Slicer application (a pytest plug-in, see pyproject.toml).

Loading this file costs nothing; the first test that uses `slicer_app` starts the application, once per process.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NEEDED = {"slicer_core": "slicer-core", "PySide6": "PySide6"}


def missing_packages() -> list[str]:
    """Return the names, as pip knows them, of packages that the stand-in needs and that are not there."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


@pytest.fixture(scope="session")
def started_slicer() -> Any:
    """Return the stand-in application, started once; a test skips with the reason when it cannot be."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"needs the stand-in for Slicer: pip install {' '.join(missing)}")
    import slicer_standin

    return slicer_standin.start()


@pytest.fixture
def slicer_app(started_slicer: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return slicer.app with an empty scene; errors in slots, timers and observers fail the test.

    The panels find no label-quality model of their own, so that not every edit of every test starts a process that scores it, unless a
    test is marked with `shipped_quality_model`. They list no starter models unless it is marked with `starter_models`.
    """
    from slicer_standin import faults, session

    if request.node.get_closest_marker("shipped_quality_model") is None:
        monkeypatch.setattr("AtlasQualityLib.panel_quality_model.shippedModel", lambda: None)
    if request.node.get_closest_marker("starter_models") is None:
        monkeypatch.setattr("AtlasSegmentLib.panel_segment_models.shippedFolders", list)
    session.reset()
    faults.clear()
    gc.freeze()  # what is there now stays: the collections of this test need not look at it
    yield started_slicer
    unused = _unused_answers()
    session.reset()
    faults.check()
    assert unused == [], f"answers that no dialog has asked for: {unused}"


@pytest.fixture
def open_module(slicer_app: Any) -> Callable[[str], Any]:  # noqa: ARG001 - the application must run
    """Return a function: module name -> the Python widget of its panel, open and entered."""
    from slicer_standin import session

    return lambda name: session.open_module(REPOSITORY / name)


@pytest.fixture
def answers(slicer_app: Any) -> Any:  # noqa: ARG001
    """Return the answers to dialogs, to be given before they ask; `answers.shown` lists what was shown."""
    from slicer_standin import dialogs

    return dialogs.answers


@pytest.fixture
def press(slicer_app: Any) -> Callable[..., str]:  # noqa: ARG001
    """Return a function that presses a key such as "Ctrl+Z": press(key, widget=None)."""
    from slicer_standin import keys

    return keys.press


@pytest.fixture
def wait_until(slicer_app: Any) -> Callable[..., None]:
    """Return a function that runs the event loop until a condition holds: wait_until(condition, seconds=30)."""

    def wait(condition: Callable[[], Any], seconds: float = 30) -> None:
        from slicer_standin import faults

        end = time.monotonic() + seconds
        pause = 0.001
        while not condition():
            slicer_app.processEvents()
            if faults.reported():
                faults.check()
            assert time.monotonic() < end, f"{condition} did not become true within {seconds} s"
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)  # a child that is waited for needs the processor more than this loop

    return wait


@pytest.fixture
def screenshot(slicer_app: Any, tmp_path: Path) -> Callable[[str], Path]:  # noqa: ARG001
    """Return a function that saves panel and views as <name>.png in $ATLAS_SCREENSHOTS (or a temporary folder)."""
    from slicer_standin import pictures

    folder = Path(os.environ.get("ATLAS_SCREENSHOTS") or tmp_path)
    return lambda name: pictures.save_screenshot(folder / f"{name}.png")


def _unused_answers() -> list[Any]:
    from slicer_standin import dialogs

    return list(dialogs.answers.unused())
