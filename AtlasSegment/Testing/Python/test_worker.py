"""The program in the child process: which calls it takes, what it answers, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import child_steps
from AtlasSegmentLib import process_tree, worker
from AtlasSegmentLib.child_process import child_environment
from AtlasSegmentLib.errors import InputError, ModelError
from child_tools import running


@pytest.mark.parametrize(
    "call",
    [
        "os:system",
        "subprocess:run",
        "AtlasSegmentLib:errors",
        "AtlasSegmentLib.worker:os",
        "AtlasSegmentLib.worker:Channel",
        "AtlasSegmentLib.worker:main",
        "AtlasSegmentLib.worker:_watch",
        "AtlasSegmentLib.files.os:system",
        "AtlasSegmentLib.inference:np",
        "AtlasSegmentLibrary.tasks:segment",
        "AtlasSegmentLib.tasks:no_such_task",
        "AtlasSegmentLib.no_such_module:segment",
        "AtlasSegmentLib.tasks",
        "AtlasSegmentLib.tasks:segment_files\n",
        "",
    ],
)
def test_what_is_no_task_of_an_atlas_library_is_refused(call: str) -> None:
    with pytest.raises(InputError) as caught:
        worker.find_function(call)
    assert repr(call)[1:-1] in str(caught.value)


def test_a_task_is_found_and_one_imported_from_another_module_is_not() -> None:
    assert worker.find_function("AtlasSegmentLib.segment_request:segment").__name__ == "segment"
    with pytest.raises(InputError, match="no such task"):
        worker.find_function("AtlasSegmentLib.segment_request:segment_case")


@pytest.mark.parametrize(("value", "sent"), [(Path("a/b"), os.path.join("a", "b")), (np.float32(0.5), 0.5), (np.int64(7), 7)])  # noqa: PTH118
def test_paths_and_numpy_scalars_are_sent_as_what_they_mean(value: Any, sent: Any) -> None:
    assert json.loads(json.dumps(value, default=worker.plain)) == sent


@pytest.mark.parametrize("value", [object(), {1, 2}, np.zeros(3), b"x"])
def test_what_json_cannot_hold_is_not_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent between processes"):
        json.dumps(value, default=worker.plain)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModelError("m", "r"), "m"),
        (ValueError("first\nsecond"), "The work failed unexpectedly (ValueError: first)."),
        (KeyError(), "The work failed unexpectedly (KeyError)."),
        (MemoryError(), "There is not enough memory."),
        (ModuleNotFoundError("No module named 'x'", name="x"), "The Python package x is not installed."),
        (PermissionError(13, "Permission denied", "ct.nii.gz"), "[Errno 13] Permission denied: 'ct.nii.gz'."),
    ],
)
def test_a_failure_is_told_in_one_clear_message_with_its_remedy(error: Exception, message: str) -> None:
    told, remedy = worker.explain(error)
    assert told == message
    assert remedy


@contextmanager
def start(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the worker as a parent does, with its raw pipes; it never outlives the test."""
    environment = child_environment(os.environ, child_steps.make_library(folder / "library"), process_tree.new_mark())
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "AtlasSegmentLib.worker"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the next answer; every byte on the channel belongs to one."""
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith(b"\x1e{")
    assert line.endswith(b"}\n")
    assert line.isascii()
    message: dict[str, Any] = json.loads(line[1:])
    return message


def request(function: str, **arguments: Any) -> bytes:
    return json.dumps({"id": 1, "call": child_steps.CALL + function, "arguments": arguments}).encode()


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[1]", b"{", b'{"call": "AtlasReviewLib.child_steps:who", "arguments": [1]}', b"\xff\xfe"]
)
def test_a_line_that_is_no_request_is_answered_and_the_worker_goes_on(tmp_path: Path, line: bytes) -> None:
    with start(tmp_path) as process:
        ask(process, line)
        assert "is no request" in answer(process)["text"]
        ask(process, request("big", size=3))
        assert [answer(process)["kind"], answer(process)["value"]] == ["progress", "xxx"]
        process.communicate()
    assert process.returncode == 0


def test_prints_of_any_kind_never_reach_the_channel(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        ask(process, request("print_everywhere"))
        told = [answer(process)]
        while told[-1]["kind"] != "result":
            told.append(answer(process))
        _, errors = process.communicate()
    assert told[-1]["value"] == "true"
    assert [message["text"] for message in told if message["kind"] == "log"][-1] == "WARNING: from logging"
    for stray in (b"from Python", b"forged", b"descriptor 1", b"from C", b"from a grandchild", b"no UTF-8"):
        assert stray in errors


def test_a_file_in_the_current_folder_does_not_replace_a_library(tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("needs PYTHONSAFEPATH, which Slicer's Python 3.12 has")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    with start(tmp_path) as process:
        ask(process, request("big", size=1))
        assert answer(process)["kind"] == "progress"
        process.communicate()


def test_the_worker_ends_when_stdin_closes_in_the_middle_of_a_call(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        ask(process, request("work"))
        assert answer(process)["text"] == "working"
        assert process.stdin
        process.stdin.close()
        process.wait(30)
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX process groups")
def test_the_worker_takes_its_own_children_with_it(tmp_path: Path) -> None:
    note = tmp_path / "numbers"
    with start(tmp_path) as process:
        ask(process, request("leave_grandchildren", note=str(note)))
        assert answer(process)["text"] == "grandchildren run"
        assert process.stdin
        process.stdin.close()
        process.wait(30)
    left = running([int(number) for number in note.read_text().split()])
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
