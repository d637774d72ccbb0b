"""The program `atlas`: the commands of the three modules, and what happens when one fails."""

from __future__ import annotations

import logging
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from AtlasQualityLib import commands as quality
from AtlasReviewLib import commands as review
from AtlasSegmentLib import commands as segment
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import AtlasError


def build() -> typer.Typer:
    """Return the program with all commands."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_options)
    for module in (segment, quality, review):
        module.add_to(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("slicer-atlas-annotator")
        except metadata.PackageNotFoundError:  # running from a source checkout
            version = "source checkout"
        console.print_line(f"atlas {version}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the libraries log.")] = False,
) -> None:
    """Turn CTs into expert-checked organ labels: models propose, Atlas shows where they are probably wrong, people correct that."""
    del version
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="atlas: %(message)s", stream=sys.stderr)


def main() -> None:
    """Run the program: exit 0 when all is done, 1 when some cases failed, 2 on an error, 130 when interrupted."""
    try:
        build()()
    except AtlasError as error:
        if "--json" in sys.argv:
            console.print_json({"error": error.message, "remedy": error.remedy})
        console.fail(error)
    except SystemExit as ended:
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):  # Typer ends at Ctrl-C without a word
            console.print_error("interrupted; run the same command again to go on.")
        raise
    except BrokenPipeError:  # the reader of our output has left, such as `atlas info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(console.EXIT_SOME_FAILED)


if __name__ == "__main__":
    main()
