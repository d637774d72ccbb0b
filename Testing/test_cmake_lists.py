"""The CMake lists name every file, and what they install is a working extension."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_files import MODULES, cmake_list, expected_resources, expected_scripts, expected_shared, lines_to_paste

# What Slicer gives an extension, reduced to what ours uses: the same variables, and macros that check and copy as Slicer's do
# (Slicer: CMake/SlicerMacroBuildScriptedModule.cmake, with CTK's ctkMacroCompilePythonScript).
SLICER_CONFIG = r"""
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
"""
USE_SLICER = r"""
include(CMakeParseArguments)
set(BUILD_TESTING ON)
enable_testing()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "no test ${MY_SCRIPT}")
  endif()
endmacro()
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown keywords ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "nonexistent file ${file}")
    endif()
    configure_file(${file} ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file} COPYONLY)
  endforeach()
  # Only this module's files, so that the install rule of the shared resources has to work by itself.
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder} COMPONENT RuntimeLibraries)
  endforeach()
endmacro()
"""


def check_list(cmake: Path, variable: str, expected: list[str]) -> None:
    """Fail with the lines to paste when a list does not hold exactly the expected files."""
    listed = cmake_list(cmake, variable)
    wrong = sorted({*listed} ^ {*expected}) or [name for name in expected if listed.count(name) > 1]
    assert not wrong, f"{cmake}: not listed, listed without a file, or listed twice: {wrong}. Paste:\n\n" + lines_to_paste(
        cmake, variable, expected
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_python_file_of_a_module_is_listed(repository: Path, module: str) -> None:
    folder = repository / module
    check_list(folder / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", expected_scripts(folder))


@pytest.mark.parametrize("module", MODULES)
def test_every_resource_of_a_module_is_listed(repository: Path, module: str) -> None:
    folder = repository / module
    check_list(folder / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES", expected_resources(folder))


def test_every_shared_resource_is_listed(repository: Path) -> None:
    folder = repository / "Resources"
    check_list(folder / "CMakeLists.txt", "SHARED_RESOURCES", expected_shared(folder))


@pytest.mark.parametrize("entries", [["AtlasX.py"], ["AtlasX.py", "AtlasXLib/a.py", "AtlasXLib/gone.py"]])
def test_a_missing_or_stale_entry_is_found(tmp_path: Path, entries: list[str]) -> None:
    module = tmp_path / "AtlasX"
    (module / "AtlasXLib").mkdir(parents=True)
    (module / "AtlasX.py").touch()
    (module / "AtlasXLib" / "a.py").touch()
    cmake = module / "CMakeLists.txt"
    cmake.write_text(f"set(MODULE_NAME AtlasX)\nset(SCRIPTS\n  {' '.join(entries)}\n  )\n".replace("AtlasX.py", "${MODULE_NAME}.py"))
    with pytest.raises(AssertionError, match="Paste"):
        check_list(cmake, "SCRIPTS", expected_scripts(module))


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Configure, build and install the extension against the stand-in; return the module folders (build tree, install tree)."""
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("needs cmake and ninja: pip install cmake ninja")
    top = tmp_path_factory.mktemp("extension")
    source, slicer, build, prefix = (top / name for name in ("source", "slicer", "build", "prefix"))
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (slicer / "UseSlicer.cmake").write_text(USE_SLICER)
    (slicer / "Nothing.cmake").touch()
    source.mkdir()
    for name in (*MODULES, "Resources"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Nothing here is compiled: without languages the check needs no compiler.
    text = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    (source / "CMakeLists.txt").write_text(re.sub(r"project\((\w+)\)", r"project(\1 NONE)", text), encoding="utf-8")
    commands = (
        ["cmake", "-S", source, "-B", build, "-G", "Ninja", f"-DSlicer_DIR={slicer}", f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        ["cmake", "--build", build],
        ["cmake", "--install", build, "--component", "RuntimeLibraries"],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return tuple(root / "lib/Slicer-5.12/qt-scripted-modules" for root in (build, prefix))  # type: ignore[return-value]


@pytest.mark.parametrize("tree", [0, 1], ids=["build", "install"])
def test_libraries_and_shared_resources_work_in_slicers_module_folder(installed: tuple[Path, Path], tree: int) -> None:
    program = (
        "from AtlasSegmentLib.resources import resource_path; import AtlasQualityLib, AtlasReviewLib;"
        "print(resource_path('Labels', 'structures.json')); print(resource_path('Icons', 'AtlasAnnotator.png'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed[tree])}
    done = subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", program],
                          capture_output=True, text=True, check=False, env=environment, cwd=installed[tree])  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [Path(line) for line in done.stdout.splitlines()]
    assert all(path.is_relative_to(installed[tree] / "Resources") for path in found), found


@pytest.mark.parametrize("tree", [0, 1], ids=["build", "install"])
def test_every_listed_file_arrives(repository: Path, installed: tuple[Path, Path], tree: int) -> None:
    expected = {f"Resources/{name}" for name in expected_shared(repository / "Resources")}
    for module in MODULES:
        expected |= {*expected_scripts(repository / module), *expected_resources(repository / module)}
    found = {path.relative_to(installed[tree]).as_posix() for path in installed[tree].rglob("*") if path.is_file()}
    assert {name for name in found if "__pycache__" not in name} == expected
