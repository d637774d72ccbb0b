"""The child process as its parent sees it: nothing blocks, nothing is lost, and nothing stays behind."""

from __future__ import annotations

import math
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import child_steps
from AtlasSegmentLib import child_process
from AtlasSegmentLib.child_process import ChildProcess, Event, library_folders
from AtlasSegmentLib.process_tree import MARK_VARIABLE
from child_tools import collect, make_launcher

CALL = child_steps.CALL


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return child_steps.make_library(tmp_path / "library")


@pytest.fixture
def child(folders: list[Path]) -> Iterator[ChildProcess]:
    made = ChildProcess(folders=folders)
    yield made
    made.kill()


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    return make_launcher(tmp_path / "home")


def ask(child: ChildProcess, function: str, **arguments: Any) -> list[Event]:
    child.send(CALL + function, arguments)
    return collect(child)


def test_a_call_gives_progress_log_and_result(child: ChildProcess) -> None:
    events = ask(child, "echo", text="hello", number=3)
    assert [event.kind for event in events] == ["progress", "log", "result"]
    assert (events[0].fraction, events[0].text) == (0.5, "hello")
    assert events[1].text == "INFO: hello"
    assert events[2].value == {"text": "hello", "number": 3}
    assert not child.busy


HOSTILE = ["two\nlines\r\n", "\x1e", '"}\n{"kind": "result"', "\udcff\ud800", "\x00\x1b[2J", "\u2028\u202e", "日本", "x" * 300_000]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_crosses_both_ways_as_it_is(child: ChildProcess, text: str) -> None:
    progress, log, result = ask(child, "echo", text=text)
    assert progress.text == text
    assert log.text == f"INFO: {text}"
    assert result.value == {"text": text}


def test_numbers_that_are_none_cross_too(child: ChildProcess) -> None:
    value = ask(child, "echo", values=[math.nan, math.inf, -math.inf, 1e308, 2**70])[-1].value["values"]
    assert math.isnan(value[0])
    assert value[1:] == [math.inf, -math.inf, 1e308, 2**70]


def test_paths_are_sent_as_text(child: ChildProcess, tmp_path: Path) -> None:
    assert ask(child, "echo", path=tmp_path)[-1].value == {"path": str(tmp_path)}


def test_the_process_stays_warm_between_calls_and_is_new_after_a_kill(child: ChildProcess) -> None:
    first, second = (ask(child, "who")[-1].value["pid"] for _ in range(2))
    assert first == second == child.pid
    child.kill()
    assert child.pid is None
    assert ask(child, "who")[-1].value["pid"] != first


@pytest.mark.skipif(os.name == "nt", reason="looks at the niceness of POSIX")
def test_the_child_gives_way_to_the_panel_and_keeps_to_the_threads_it_is_given(folders: list[Path]) -> None:
    child = ChildProcess(folders=folders, threads=3)
    told = ask(child, "who")[-1].value
    child.close()
    assert told["nice"] > os.nice(0)
    assert told["threads"] == "3"


def test_only_one_call_runs_at_a_time(child: ChildProcess) -> None:
    child.send(CALL + "work", {})
    assert child.busy
    with pytest.raises(RuntimeError, match="another call runs"):
        child.send(CALL + "who", {})


def test_arguments_that_cannot_be_sent_are_refused_before_anything_starts(child: ChildProcess) -> None:
    with pytest.raises(TypeError):
        child.send(CALL + "echo", {"value": object()})
    assert not child.busy
    assert child.pid is None


def test_ten_thousand_progress_lines_arrive_although_nobody_reads_for_a_while(child: ChildProcess) -> None:
    child.send(CALL + "flood", {"lines": 10_000})
    time.sleep(0.5)
    events = collect(child)
    assert [event.text for event in events if event.kind == "progress"] == [f"step {number}" for number in range(10_000)]
    assert events[-1].value == 10_000


def test_a_large_result_arrives_whole(child: ChildProcess) -> None:
    assert ask(child, "big", size=5_000_000)[-1].value == "x" * 5_000_000


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("atlas", "ModelError", "net.onnx: is damaged.\nReally."),
        ("value", "ValueError", "The work failed unexpectedly (ValueError: first)."),
        ("exit", "SystemExit", "The work failed unexpectedly (SystemExit: enough)."),
        ("memory", "MemoryError", "There is not enough memory."),
        ("disk", "OSError", "[Errno 28] No space left on device: 'x.nii.gz'."),
        ("package", "ModuleNotFoundError", "The Python package no_such_package is not installed."),
    ],
)
def test_a_failing_call_gives_one_error_and_the_child_goes_on(child: ChildProcess, kind: str, name: str, text: str) -> None:
    events = ask(child, "fail", kind=kind)
    (error,) = [event for event in events if event.kind == "error"]
    assert error.text.startswith(text)
    assert error.value == name
    assert error.remedy
    traceback_logged = any("Traceback" in event.text for event in events if event.kind == "log")
    assert traceback_logged == ("Traceback" in error.details) == (kind != "atlas")  # an AtlasError says it all
    assert ask(child, "echo", a=1)[-1].value == {"a": 1}


def test_a_result_that_cannot_be_sent_is_an_error(child: ChildProcess) -> None:
    error = ask(child, "return_nonsense")[-1]
    assert (error.kind, error.value) == ("error", "TypeError")
    assert ask(child, "echo", a=1)[-1].value == {"a": 1}


def test_a_call_outside_the_atlas_libraries_is_refused(child: ChildProcess) -> None:
    child.send("os:getcwd", {})
    (error,) = collect(child)
    assert (error.kind, error.value) == ("error", "InputError")


def test_prints_of_the_child_are_log_lines_and_damage_nothing(child: ChildProcess) -> None:
    events = ask(child, "print_everywhere")
    assert [event.value for event in events if event.kind == "result"] == ["true"]
    time.sleep(0.2)  # what was printed and the result come through different pipes
    log = "\n".join(event.text for event in (*events, *child.events()) if event.kind == "log")
    for stray in (
        "from Python",
        "from descriptor 1",
        "from C",
        "from a grandchild",
        "bar 10 %",
        "bar 20 %",
        "from warnings",
        "from logging",
    ):
        assert stray in log


@pytest.mark.parametrize(
    ("how", "ending"), [("exit", "ended with exit code 3"), ("kill", "was killed by SIGKILL"), ("crash", "was killed by SIGSEGV")]
)
@pytest.mark.skipif(os.name == "nt", reason="ends by signals")
def test_a_child_that_dies_gives_one_error_with_its_last_lines(child: ChildProcess, how: str, ending: str) -> None:
    error = ask(child, "die", how=how)[-1]
    assert (error.kind, error.value) == ("error", "Ended")
    assert error.text.startswith(f"The worker process {ending}")
    assert "last words" in error.details
    assert "\n" not in error.text
    assert error.remedy
    assert not child.busy
    time.sleep(0.2)
    assert child.events() == []
    assert ask(child, "echo", a=1)[-1].value == {"a": 1}


@pytest.mark.skipif(os.name == "nt", reason="ends by signals")
def test_a_child_that_dies_between_calls_is_no_error_and_the_next_call_starts_another(child: ChildProcess) -> None:
    pid = ask(child, "who")[-1].value["pid"]
    os.kill(pid, signal.SIGKILL)
    while child.pid is not None:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [event.kind for event in child.events()] in ([], ["log"])
    assert ask(child, "who")[-1].value["pid"] != pid
    os.kill(child.pid or 0, signal.SIGKILL)
    while child.pid is not None:
        time.sleep(0.01)
    assert ask(child, "who")[-1].kind == "result"  # also when nobody has looked at the events in between


def unusable(folder: Path, kind: str) -> Path:
    """Return the path of a program that cannot be started."""
    program = folder / "python"
    if kind == "folder":
        program.mkdir()
    elif kind != "missing":
        program.write_text("not a program")
        program.chmod(stat.S_IRUSR if kind == "no permission" else 0o755)
    return folder / "\0" if kind == "no name" else program


@pytest.mark.parametrize("kind", ["missing", "folder", "no permission", "no program", "no name"])
def test_a_program_that_cannot_be_started_is_an_error_event(tmp_path: Path, kind: str) -> None:
    child = ChildProcess(unusable(tmp_path, kind))
    for _ in range(2):
        child.send("AtlasSegmentLib.tasks:segment_files", {})
        assert child.busy
        (error,) = child.events()
        assert (error.kind, error.value) == ("error", "NotStarted")
        assert "cannot be started" in error.text
        assert error.remedy
        assert not child.busy
        assert child.events() == []
    child.kill()


@pytest.mark.skipif(os.name == "nt", reason="needs /bin/false")
def test_a_program_that_is_no_python_gives_one_error(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho what is this\necho I am no Python >&2\nexit 4\n")
    program.chmod(0o755)
    child = ChildProcess(program)
    child.send("AtlasSegmentLib.tasks:segment_files", {})
    error = collect(child)[-1]
    assert "ended with exit code 4" in error.text
    assert "what is this" in error.details
    assert "I am no Python" in error.details


def test_the_interpreter_is_pythonslicer_where_slicer_is(launcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert child_process.find_python(launcher.parent.parent) == launcher
    assert child_process.find_python() == sys.executable
    assert child_process.find_python("") == sys.executable
    monkeypatch.setenv("PATH", str(tmp_path))
    assert child_process.find_python(tmp_path / "elsewhere") == sys.executable
    monkeypatch.setenv("PATH", str(launcher.parent))
    assert child_process.find_python(tmp_path / "elsewhere") == str(launcher)


def test_the_child_finds_the_libraries_where_the_parent_has_them(repository: Path) -> None:
    folders = library_folders()
    assert folders == [repository / name for name in ("AtlasSegment", "AtlasQuality", "AtlasReview")]


def test_a_flat_module_folder_serves_all_three_libraries(tmp_path: Path, repository: Path) -> None:
    for name in ("AtlasSegment", "AtlasQuality"):
        (tmp_path / f"{name}Lib").symlink_to(repository / name / f"{name}Lib")
    source = "from AtlasSegmentLib.child_process import library_folders as f; print(*f())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    # -S: an installation of this checkout beside the tests is not looked at
    done = subprocess.run([sys.executable, "-S", "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(repository / "AtlasSegment"), str(repository / "AtlasQuality")]  # links are followed


def test_the_environment_keeps_what_it_inherits(tmp_path: Path) -> None:
    start = {"PYTHONPATH": "/elsewhere", "LD_LIBRARY_PATH": "/lib", MARK_VARIABLE: "outer"}
    made = child_process.child_environment(start, [tmp_path], "inner")
    assert made["PYTHONPATH"] == f"{tmp_path}{os.pathsep}/elsewhere"
    assert made["LD_LIBRARY_PATH"] == "/lib"
    assert made[MARK_VARIABLE] == "outer inner"
    assert "OMP_NUM_THREADS" not in made


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit code 0"), (1, "exit code 1"), (-9, "SIGKILL (signal 9)"), (-250, "signal 250"), (0xC0000005, "exit code 0xc0000005")],
)
def test_how_a_process_ended_is_said_in_words(status: int, text: str) -> None:
    assert text in child_process.describe_exit(status)
