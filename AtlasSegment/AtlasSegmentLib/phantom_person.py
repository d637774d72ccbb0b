"""Who a phantom is: age, sex, build, pose and contrast phase, all drawn from its seed, and the warp that makes the build."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.phantom_points import Warp

PHASES = ("none", "arterial", "venous")
"""Contrast phases: none, late arterial, portal venous."""
_REFERENCE_CM = 174.0
_WAVES = 5


@dataclass(frozen=True)
class Person:
    """What the seed decided; the rest follows from it.

    Attributes:
        seed: The seed.
        sex: "female" or "male".
        age: Years, 20..88.
        height: cm.
        bmi: Body mass index, kg/m2.
        phase: One of `PHASES`.
        gallstones: Number of stones in the gall bladder.
        kidney_stones: Number of kidney stones.
        thickness: Subcutaneous fat at the flank, mm.
        steatosis: HU that fat takes from the liver.
    """

    seed: int
    sex: str
    age: float
    height: float
    bmi: float
    phase: str
    gallstones: int
    kidney_stones: int
    thickness: float
    steatosis: float

    def record(self) -> dict[str, Any]:
        """Return it as plain values for a JSON file."""
        return asdict(self)

    @property
    def is_male(self) -> bool:
        """Whether there is a prostate."""
        return self.sex == "male"

    def scale(self) -> tuple[float, float, float]:
        """Return the size against the reference adult along x, y, z."""
        stature = self.height / _REFERENCE_CM
        lateral = stature**0.7 * (1.0 if self.is_male else 0.97) * (1 + 0.006 * (self.bmi - 26))
        depth = stature**0.7 * (1.0 if self.is_male else 0.96) * (1 + 0.004 * (self.bmi - 26))
        return lateral, depth, stature

    def belly(self) -> float:
        """Return the depth of the abdomen before the spine against the (well-fed) reference."""
        return float(np.clip(0.88 + 0.017 * (self.bmi - 24), 0.76, 1.14))

    def volume(self) -> float:
        """Return the volume that an organ of the reference has in this person, as a share of it."""
        x, y, z = self.scale()
        return x * y * z * (0.35 + 0.65 * self.belly())


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one part of the anatomy: another part that draws more does not change them."""
    return np.random.default_rng([seed, *name.encode()])


def person_of(seed: int, phase: str | None = None, stones: bool | None = None) -> Person:
    """Return the person of a seed.

    Args:
        seed: 0 or more.
        phase: One of `PHASES`; None lets the seed choose.
        stones: Whether there are stones in gall bladder and kidney; None lets the seed choose.

    Raises:
        InputError: A negative seed or an unknown phase.
    """
    if seed < 0:
        message = f"Seed {seed} is negative."
        raise InputError(message, "Give 0 or more.")
    if phase is not None and phase not in PHASES:
        message = f"There is no contrast phase {phase!r}."
        raise InputError(message, f"Use one of {', '.join(PHASES)}.")
    rng = stream(seed, "person")
    male = rng.random() < 0.5
    height = float(np.clip(rng.normal(176 if male else 163, 6.5), 150, 196))
    bmi = float(np.clip(rng.normal(26, 4.2), 18.5, 38))
    chosen = PHASES[int(rng.choice(3, p=(0.35, 0.2, 0.45)))]
    found = rng.random(2) < (0.15, 0.12)
    if stones is not None:
        found[:] = stones
    numbers = rng.integers(1, 5, 2) * found
    return Person(
        seed=seed,
        sex="male" if male else "female",
        age=round(float(rng.uniform(20, 88)), 1),
        height=round(height, 1),
        bmi=round(bmi, 1),
        phase=phase or chosen,
        gallstones=int(numbers[0]),
        kidney_stones=int(numbers[1]),
        thickness=round(max(5.0, (6 + 1.25 * (bmi - 18)) * (0.85 if male else 1.25) * float(rng.uniform(0.8, 1.2))), 1),
        steatosis=round(float(max(0.0, rng.normal(0.8 * (bmi - 26), 8))), 1),
    )


def warp_of(person: Person) -> Warp:
    """Return the warp of a person: build, pose on the table, a slight scoliosis, and shapes that are nobody else's."""
    rng = stream(person.seed, "warp")
    lengths = rng.uniform(130, 320, _WAVES)
    directions = rng.normal(size=(_WAVES, 3))
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    waves = 2 * np.pi / lengths[:, None] * directions
    sways = rng.normal(0, 1, (_WAVES, 3)) * (1.6, 1.3, 1.8) * (lengths[:, None] / 220)
    waves = np.concatenate([waves, [[0, 0, 2 * np.pi / rng.uniform(380, 600)]]])  # scoliosis
    sways = np.concatenate([sways, [[rng.normal(0, 2.5), 0, 0]]])
    return Warp(
        shift=np.array([rng.normal(0, 6), rng.normal(0, 6), 0.0]),
        scale=np.array(person.scale()),
        turn=float(np.deg2rad(np.clip(rng.normal(0, 1.5), -4, 4))),
        belly=person.belly(),
        waves=waves,
        sways=sways,
        phases=rng.uniform(0, 2 * np.pi, len(waves)),
    )
