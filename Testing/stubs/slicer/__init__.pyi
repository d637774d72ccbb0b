"""What mypy is told of Slicer: only what would otherwise make our own code untyped."""

from typing import Any

def __getattr__(name: str) -> Any: ...
