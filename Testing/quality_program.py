"""The program `atlas quality` as tests call it."""

from __future__ import annotations

from typer.testing import CliRunner

from AtlasQualityLib.commands_quality import quality_app


def run(*arguments: object) -> str:
    """Return what a call that must succeed prints on stdout; an exception is raised as it is."""
    done = CliRunner().invoke(quality_app(), [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout
