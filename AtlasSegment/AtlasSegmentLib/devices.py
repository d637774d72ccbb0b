"""Where a network runs: what people choose, and what is really in use."""

from __future__ import annotations

from typing import Literal

from AtlasSegmentLib.errors import InputError

Device = Literal["auto", "gpu", "cpu"]
DEVICES: tuple[Device, ...] = ("auto", "gpu", "cpu")
"""Choices: the GPU when it works, else the CPU; the GPU and nothing else; the CPU."""


def device_of(text: str) -> Device:
    """Return the device that a text names. Raises InputError."""
    if text not in DEVICES:
        message = f"{text!r}: is no device."
        raise InputError(message, f"Choose one of {', '.join(DEVICES)}.")
    return text
