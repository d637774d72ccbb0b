"""The program in the child process: takes calls of Atlas functions on stdin, one JSON object a line, and answers the same way.

A request is {"id": 1, "call": "AtlasSegmentLib.tasks:segment_files", "arguments": {...}}. The answers go to a private copy of
stdout, each framed as RFC 7464 (JSON text sequences) says: the character RS before and a line feed behind. Descriptor 1 itself
is turned to stderr before any library is loaded, so that what libraries print, native ones too, never damages an answer.

    {"kind": "progress", "id": 1, "fraction": 0.4, "text": "infer"}
    {"kind": "log", "text": "..."}
    {"kind": "result", "id": 1, "value": ...}
    {"kind": "error", "id": 1, "text": "what is wrong", "remedy": "the next step", "error": "ModelError", "details": ""}

The process stays, with its models loaded, until its stdin closes, which also happens when the parent dies: then it ends at
once, in the middle of a call too, with all processes it started.
"""

from __future__ import annotations

import faulthandler
import importlib
import inspect
import json
import logging
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from AtlasSegmentLib import process_tree
from AtlasSegmentLib.errors import AtlasError, InputError

RECORD = "\x1e"
_CALL = re.compile(r"(Atlas(?:Segment|Quality|Review)Lib(?:\.[a-z][a-z0-9_]*)+):([a-z][a-z0-9_]*)")
_NICE = 5
_log = logging.getLogger(__name__)


class Channel:
    """The way back to the parent; may be used from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises TypeError, ValueError or RecursionError when it cannot be JSON."""
        # ASCII alone: lone surrogates (file names that are no UTF-8) and line separators arrive as they were.
        line = f"{RECORD}{json.dumps(message, ensure_ascii=True, default=plain)}\n".encode("ascii")
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]


def plain(value: Any) -> Any:
    """Return a path or a numpy scalar as JSON knows it. Raises TypeError for anything else."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item") and not getattr(value, "shape", (0,)):
        return value.item()
    message = f"a {type(value).__name__} cannot be sent between processes"
    raise TypeError(message)


class _ChannelHandler(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the parent is gone: stdin closes too
            self._channel.send({"kind": "log", "text": self.format(record)})


def find_function(call: str) -> Callable[..., Any]:
    """Return the function that "module:function" names.

    Raises:
        InputError: It is no public function with a parameter `progress` that a module of the three Atlas libraries defines, or
            its module lacks a package.
    """
    match = _CALL.fullmatch(call)
    if match is None:
        message = f"{call!r}: only functions of AtlasSegmentLib, AtlasQualityLib and AtlasReviewLib are called."
        raise InputError(message, "Install Atlas Annotator again.")
    try:
        function: Callable[..., Any] | None = getattr(importlib.import_module(match[1]), match[2], None)
    except ModuleNotFoundError as error:
        message = f"{call}: the Python package {error.name} is not installed."
        raise InputError(message, "Install it, or install Atlas Annotator again when it is a part of it.") from error
    if not inspect.isfunction(function) or function.__module__ != match[1] or "progress" not in inspect.signature(function).parameters:
        message = f"{call}: there is no such task."
        raise InputError(message, "Install Atlas Annotator again.")
    return function


def run_call(request: dict[str, Any], channel: Channel) -> None:
    """Run one request and send its result or its error; never raises what the called function raises."""
    number = request.get("id")

    def progress(fraction: float, text: str = "") -> None:
        channel.send({"kind": "progress", "id": number, "fraction": float(fraction), "text": str(text)})

    try:
        value = find_function(str(request.get("call")))(**request.get("arguments", {}), progress=progress)
        channel.send({"kind": "result", "id": number, "value": value})
    except (Exception, SystemExit) as error:  # the edge of the process: the parent is told, whatever it is
        details = "" if isinstance(error, AtlasError) else traceback.format_exc()
        if details:
            _log.error("%s failed\n%s", request.get("call"), details)
        message, remedy = explain(error)
        name = type(error).__name__
        channel.send({"kind": "error", "id": number, "text": message, "remedy": remedy, "error": name, "details": details})


def explain(error: BaseException) -> tuple[str, str]:
    """Return what to tell people about a failure: message and remedy."""
    if isinstance(error, AtlasError):
        return error.message, error.remedy
    if isinstance(error, MemoryError):
        return "There is not enough memory.", "Close other programs, or use a smaller region of interest."
    if isinstance(error, ModuleNotFoundError):
        return f"The Python package {error.name} is not installed.", "Install it and try again."
    if isinstance(error, OSError):
        return f"{error}.", "Check the disk and permissions, then try again."
    first = next(iter(str(error).strip().splitlines()), "")
    detail = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"The work failed unexpectedly ({detail}).", "The log has the details; please report them."


def take_streams() -> tuple[BinaryIO, Channel]:
    """Keep stdin and stdout for the protocol alone: whatever else reads finds nothing, whatever else prints goes to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), Channel(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return requests, answers


def _watch(requests: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Hand on requests until the parent closes the pipe or dies; then end this process."""
    for line in requests:
        waiting.put(line)
    mark = next(reversed(os.environ.get(process_tree.MARK_VARIABLE, "").split()), "")
    process_tree.kill_tree(os.getpid(), mark, spare=[os.getppid()], timeout=1.0)
    os._exit(0)


def main() -> None:
    """Serve calls until stdin closes."""
    requests, channel = take_streams()
    faulthandler.enable()
    os.environ.pop("PYTHONSAFEPATH", None)  # meant for this process alone, not for programs that are started here
    with suppress(AttributeError, OSError):  # no such thing on Windows, where the parent has set the priority
        os.nice(_NICE)
    logging.basicConfig(level=logging.INFO, handlers=[_ChannelHandler(channel)])
    logging.captureWarnings(True)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(requests, waiting), name="requests", daemon=True).start()
    while True:
        line = waiting.get()
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if isinstance(request, dict) and isinstance(request.get("arguments", {}), dict):
            run_call(request, channel)
        else:
            channel.send({"kind": "error", "id": None, "text": f"{line!r:.200}: is no request.", "remedy": "", "error": "InputError"})


if __name__ == "__main__":
    main()
