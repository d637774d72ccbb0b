"""The program `atlas` run in this process, as a test sees it, and what is on the disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from AtlasReviewLib import program

_built = functools.cache(program.build)  # a tenth of a second each time


@dataclass(frozen=True)
class Done:
    """What a run of the program left: exit code, stdout, stderr with what was logged."""

    code: int
    out: str
    err: str
    as_json: bool


def run_program(arguments: list[str], folder: Path) -> Done:
    """Run `atlas ARGUMENTS` in a folder; an exception that the program does not handle is raised here."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    before = Path.cwd()
    os.chdir(folder)
    code = 0
    try:
        with (
            mock.patch.object(program, "build", _built),
            mock.patch.object(sys, "argv", ["atlas", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            program.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        os.chdir(before)
        logging.getLogger().removeHandler(handler)
    return Done(code, out.getvalue(), err.getvalue(), "--json" in arguments)


def listing(folder: Path) -> dict[str, str]:
    """Return every file, folder and link below a folder with a digest of its content; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found
