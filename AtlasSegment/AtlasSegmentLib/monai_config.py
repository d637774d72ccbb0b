"""MONAI's bundle configs read as data: references are followed, simple expressions calculated, nothing is imported or run."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN, read_object
from AtlasSegmentLib.monai_expression import NotUnderstoodError, Part, calculate

TARGET = "_target_"
_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_SEPARATOR = re.compile(r"#|::")
_OWN_KEYS = frozenset({TARGET, "_requires_", "_desc_", "_disabled_", "_mode_"})
_LARGEST = 1 << 24  # bytes; the zoo's longest config has 20 kB
_NESTED = 40
_RUN_BY_MONAI = (
    "Write its value in place of the expression in a copy of the bundle, or run the bundle with MONAI itself "
    "(python -m monai.bundle run) and export its network to ONNX or TorchScript with a model.json."
)


@dataclass(frozen=True)
class Component(Part):
    """A part of a config that MONAI would make an object of.

    Attributes:
        target: Its class, as the config names it.
        where: Its id, for messages.
        arguments: Not resolved yet.
        config: The config that it is a part of.
    """

    target: str
    where: str
    arguments: dict[str, Any]
    config: BundleConfig

    @property
    def name(self) -> str:
        """The class without its modules."""
        return self.target.rpartition(".")[2]

    @property
    def is_disabled(self) -> bool:
        """Whether the config switches it off."""
        disabled = self.config.resolved(self.arguments.get("_disabled_", False), f"{self.where}#_disabled_")
        return disabled is True or str(disabled).casefold() == "true"

    def names(self) -> list[str]:
        """Return the names of its arguments."""
        return [name for name in self.arguments if name not in _OWN_KEYS]

    def argument(self, name: str, default: Any = None) -> Any:
        """Return the value of an argument. Raises ModelError when it would have to be run as Python."""
        return self.config.resolved(self.arguments[name], f"{self.where}#{name}") if name in self.arguments else default


@dataclass(frozen=True)
class BundleConfig:
    """A config file of a MONAI bundle.

    Attributes:
        path: The file.
        content: As it stands there.
    """

    path: Path
    content: dict[str, Any]
    _known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def has(self, name: str) -> bool:
        """Tell whether there is an entry of this name at the top."""
        return name in self.content

    def get(self, name: str) -> Any:
        """Return the resolved entry of an id such as "network_def" or "inferer#overlap". Raises ModelError."""
        return self._followed(name, name, ())

    def part(self, name: str) -> Component:
        """Return a component by its id. Raises ModelError when it is none."""
        found = self.get(name)
        if not isinstance(found, Component):
            message = f"{self.path}: {name} is {found!r:.80}, expected a part with {TARGET}."
            raise ModelError(message, _RUN_BY_MONAI)
        return found

    def resolved(self, value: Any, where: str) -> Any:
        """Return a value with its references followed and expressions calculated; parts with a target become a `Component`.

        Raises:
            ModelError: It refers to nothing or to itself, or would have to be run as Python.
        """
        return self._resolved(value, where, ())

    def _resolved(self, value: Any, where: str, via: tuple[str, ...]) -> Any:
        if len(via) > _NESTED:
            raise self._problem(where, f"{value!r:.80} is nested too deeply or refers to itself", "Mend the config.")
        if isinstance(value, dict):
            if isinstance(value.get(TARGET), str):
                return Component(value[TARGET], where, value, self)
            return {key: self._resolved(part, f"{where}#{key}", (*via, where)) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolved(part, f"{where}#{number}", (*via, where)) for number, part in enumerate(value)]
        return self._text(value, where, (*via, where)) if isinstance(value, str) else value

    def _text(self, value: str, where: str, via: tuple[str, ...]) -> Any:
        if match := _REFERENCE.fullmatch(value):
            return self._followed(match[1], where, via)
        if value.startswith("$"):
            try:
                return calculate(value[1:], lambda name: self._followed(name, where, via))
            except NotUnderstoodError as error:
                text = f"the expression {value!r:.160} would have to be run as Python, which is never done"
                raise self._problem(where, text, _RUN_BY_MONAI) from error
        if value.startswith("%"):
            raise self._problem(where, f"the macro {value!r:.80} is not supported", "Write out what it stands for.")
        return value

    def _followed(self, name: str, where: str, via: tuple[str, ...]) -> Any:
        if name not in self._known:  # once: references to references would double the work at each step
            self._known[name] = self._looked_up(name, where, via)
        return self._known[name]

    def _looked_up(self, name: str, where: str, via: tuple[str, ...]) -> Any:
        value: Any = self.content
        done: list[str] = []
        for key in _SEPARATOR.split(name):
            if isinstance(value, Component):
                value = value.arguments
            found = value[key] if isinstance(value, dict) and key in value else _entry(value, key)
            if found is _MISSING:
                raise self._problem(where, f"@{name} refers to nothing in this file", "Mend the config, or copy the bundle again.")
            done.append(key)
            value = self._resolved(found, "#".join(done), via) if isinstance(found, str) else found
        return self._resolved(value, name, via)

    def _problem(self, where: str, text: str, remedy: str) -> ModelError:
        return ModelError(f"{self.path}: {where}: {text}.", remedy)


_MISSING = object()


def _entry(value: Any, key: str) -> Any:
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return _MISSING


def problem(part: Component, text: str, remedy: str = _RUN_BY_MONAI) -> ModelError:
    """Return the error that says what is wrong with a part of a config."""
    return ModelError(f"{part.config.path}: {part.where} ({part.target}): {text}", remedy)


def read_config(path: Path) -> BundleConfig:
    """Read a config file, .json or .yaml.

    Raises:
        ModelError: It is missing, damaged, too large, or needs the package PyYAML, which is not installed.
    """
    if path.is_file() and path.stat().st_size > _LARGEST:
        message = f"{path}: has {path.stat().st_size >> 20} MB, which no config of a bundle has."
        raise ModelError(message, COPY_AGAIN)
    content = read_object(path) if path.suffix == ".json" else _read_yaml(path)
    return BundleConfig(path, content)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        message = f"{path}: needs the package PyYAML, which is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[monai]" (or pip install pyyaml).') from error
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, ValueError, yaml.YAMLError) as error:
        message = f"{path}: is damaged ({' '.join(str(error).split())[:160]})."
        raise ModelError(message, COPY_AGAIN) from error
    if not isinstance(content, dict):
        message = f"{path}: holds a {type(content).__name__}, expected named entries."
        raise ModelError(message, COPY_AGAIN)
    return content


def components(value: Any, where: str) -> Iterator[Component]:
    """Yield the components of a list or of nested Compose, without those that are switched off. Raises ModelError for anything else."""
    if isinstance(value, Component) and value.name == "Compose":
        if not value.is_disabled:
            yield from components(value.argument("transforms", []), f"{value.where}#transforms")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from components(part, f"{where}#{number}")
    elif isinstance(value, Component):
        if not value.is_disabled:
            yield value
    elif value is not None:
        message = f"{where}: {value!r:.80} is no transform."
        raise ModelError(message, _RUN_BY_MONAI)
