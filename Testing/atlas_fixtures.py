"""Fixtures that every test folder shares; pytest loads them as a plug-in (pyproject.toml)."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import hypothesis
import pytest
import typer.main
import typer.testing

_EXAMPLES = int(os.environ.get("ATLAS_EXAMPLES", "50"))  # of each property; more of them for a night's run
# Without a deadline: how long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("atlas", deadline=None, max_examples=_EXAMPLES)
hypothesis.settings.load_profile("atlas")

# Typer builds all commands of an app anew, from their signatures, each time the app is called; in tests that call it thousands of times
# they are built once. A command keeps nothing from one call to the next.
typer.main.get_command = functools.cache(typer.main.get_command)
typer.testing._get_command = typer.main.get_command

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the source checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data (`data/`, `models/`, `spec/` below it), or skip the test."""
    folder = Path(os.environ.get("ATLAS_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs real data: there is no folder {folder}; set ATLAS_SHARED to it")
    return folder.resolve()


@pytest.fixture(scope="session")
def shared_models(shared_data: Path) -> list[Path]:
    """Return the atlas model folders of the shared data, sorted by name, or skip the test."""
    folders = sorted(path.parent for path in (shared_data / "models").glob("*/model.json"))
    if not folders:
        pytest.skip(f"needs real models: there is no */model.json in {shared_data / 'models'}")
    return folders
