"""Read the CMake lists of the extension and say what they should hold."""

from __future__ import annotations

import re
from pathlib import Path

MODULES = ("AtlasSegment", "AtlasQuality", "AtlasReview")
_NOT_INSTALLED = ("Screenshots",)  # pictures for README.md and the Extensions Index


def cmake_list(path: Path, variable: str) -> list[str]:
    """Return the entries of `set(variable ...)` in a CMake file, with ${MODULE_NAME} filled in."""
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    match = re.search(rf"set\({variable}\s([^)]*)\)", text)
    if match is None:
        message = f"{path} has no set({variable} ...)"
        raise AssertionError(message)
    return match[1].replace("${MODULE_NAME}", path.parent.name).split()


def expected_scripts(module: Path) -> list[str]:
    """Return every Python file that Slicer must package for a module folder."""
    library = sorted(path.relative_to(module).as_posix() for path in (module / f"{module.name}Lib").rglob("*.py"))
    return [f"{module.name}.py", *library]


def expected_resources(folder: Path) -> list[str]:
    """Return every file below Resources/ of a module folder."""
    return [f"Resources/{name}" for name in expected_shared(folder / "Resources")]


def expected_shared(resources: Path) -> list[str]:
    """Return every file of the shared Resources folder that belongs into an installation."""
    files = (path.relative_to(resources) for path in resources.rglob("*") if path.is_file() and path.name != "CMakeLists.txt")
    return sorted(path.as_posix() for path in files if path.parts[0] not in _NOT_INSTALLED)


def lines_to_paste(cmake: Path, variable: str, expected: list[str]) -> str:
    """Return the `set(...)` block that makes the list right."""
    name = cmake.parent.name
    entries = [re.sub(rf"(^|(?<=/)){name}(?=\.)", "${MODULE_NAME}", e) if name in MODULES else e for e in expected]
    return "\n".join([f"set({variable}", *(f"  {entry}" for entry in entries), "  )"])
