"""The strict checks of catalogue.json; by hand, as Slicer has no pydantic at first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.model_catalogue import KINDS, CatalogueEntry, CatalogueFile, CatalogueKind, ModelLicense
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.universal_network import ARCHITECTURES, Architecture

_MEND = "Mend the catalogue as model_catalogue.py describes."
_HEX = {"sha256": 64, "sha1": 40, "md5": 32}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class _Fields:
    """The keys of one object: each is taken once, and none may be left over."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise _wrong(where, content, "an object")
        self._content, self.where = dict(content), where

    def take(self, key: str, check: Callable[[Any], bool], expected: str, *, default: Any = ...) -> Any:
        """Return and remove a value; `default` when the key is missing, which is an error without one."""
        if key not in self._content and default is not ...:
            return default
        value = self._content.pop(key, None)
        if not check(value):
            where = f"{self.where}, {key}"
            raise _wrong(where, value, expected)
        return value

    def text(self, key: str, *, optional: bool = False) -> str:
        """Return a text without blanks around it; "" when it is missing and may be."""
        found: str = self.take(key, _is_text, "text without blanks around it", default="" if optional else ...)
        return found

    def end(self) -> None:
        """Refuse what was not taken: a misspelt key would be a fact that nobody sees."""
        if self._content:
            raise _wrong(self.where, ", ".join(map(str, self._content)), "no other keys")


def entry_of(content: Any, where: str) -> CatalogueEntry:
    """Return the model that an object of the file describes. Raises InputError."""
    fields = _Fields(content, where)
    name = _name(fields, "name")
    fields.where = where = f"{where} ({name})"
    entry = CatalogueEntry(
        name=name,
        title=fields.text("title"),
        family=fields.text("family"),
        kind=cast("CatalogueKind", fields.take("kind", lambda value: value in KINDS, f"one of {', '.join(KINDS)}")),
        license=_license(fields.take("license", _anything, ""), f"{where}, license"),
        source=_url(fields.text("source"), f"{where}, source"),
        set=_name(fields, "set", optional=True),
        task=fields.take("task", _is_count, "a positive whole number", default=None),
        labels=_labels(name, fields.take("labels", _anything, "", default=None), f"{where}, labels"),
        files=tuple(_file(file, f"{where}, files") for file in fields.take("files", _is_list, "a list", default=[])),
        version=fields.text("version", optional=True),
        citation=fields.text("citation", optional=True),
        orientation=_orientation(fields),
        spacing=_spacing(fields),
        architecture=_architecture(fields),
        problem=fields.text("problem", optional=True),
        notes=fields.text("notes", optional=True),
    )
    fields.end()
    return entry


def _architecture(fields: _Fields) -> Architecture | None:
    return cast(
        "Architecture | None",
        fields.take("architecture", lambda value: value in ARCHITECTURES, f"one of {', '.join(ARCHITECTURES)}", default=None),
    )


def _license(content: Any, where: str) -> ModelLicense:
    fields = _Fields(content, where)
    license_ = ModelLicense(
        name=fields.text("name"),
        commercial=fields.take("commercial", lambda value: value is None or isinstance(value, bool), "true, false or null"),
        form=fields.take("form", lambda value: isinstance(value, bool), "true or false"),
        url=_url(fields.text("url"), f"{where}, url"),
    )
    fields.end()
    return license_


def _file(content: Any, where: str) -> CatalogueFile:
    fields = _Fields(content, where)
    url = _url(fields.text("url"), f"{where}, url")
    save_as = _name(fields, "save_as", optional=True)
    size = fields.take("size", lambda value: value is None or _is_count(value), "a positive whole number or null", default=None)
    sums = {kind: _checksum(fields, kind, digits) for kind, digits in _HEX.items()}
    fields.end()
    return CatalogueFile(url, save_as, size, **sums)


def _checksum(fields: _Fields, kind: str, digits: int) -> str:
    pattern = re.compile(f"[0-9a-f]{{{digits}}}")
    found = fields.take(
        kind,
        lambda value: value is None or (isinstance(value, str) and pattern.fullmatch(value) is not None),
        f"{digits} hex digits in lower case or null",
        default=None,
    )
    return found or ""


def _labels(name: str, content: Any, where: str) -> LabelTable | None:
    if content is None:
        return None
    fields = _Fields(content, where)
    table = fields.text("table", optional=True)
    bounds = fields.take("range", _is_range, "[first, last]", default=None)
    names = fields.take("names", lambda value: isinstance(value, dict), "an object", default={})
    fields.end()
    try:
        labels: dict[Any, str] = {str(value): label for value, label in _of_table(table, bounds).items()}
        return LabelTable.from_labels(name, labels | names)
    except AtlasError as error:
        message = f"{where}: {error.message}"
        raise InputError(message, error.remedy) from error


def _of_table(table: str, bounds: list[int] | None) -> dict[int, str]:
    if not table:
        return {}
    whole = load_table(table)
    if bounds is None:
        return dict(whole.labels)
    return {value - bounds[0] + 1: whole.name_of(value) for value in range(bounds[0], bounds[1] + 1)}


def _name(fields: _Fields, key: str, *, optional: bool = False) -> str:
    name = fields.text(key, optional=optional)
    try:
        return safe_name(name, f"{fields.where}, {key}") if name else ""
    except AtlasError as error:
        raise InputError(error.message, _MEND) from error


def _orientation(fields: _Fields) -> str:
    code = fields.text("orientation", optional=True)
    try:
        if code:
            geometry.parse_orientation(code)
    except AtlasError as error:
        message = f"{fields.where}, orientation: {error.message}"
        raise InputError(message, _MEND) from error
    return code


def _spacing(fields: _Fields) -> tuple[float, float, float] | None:
    found = fields.take("spacing", _is_spacing, "three positive numbers (mm)", default=None)
    return None if found is None else (float(found[0]), float(found[1]), float(found[2]))


def _url(text: str, where: str) -> str:
    """Return an address; only a server on this very machine may do without TLS (tests, a local mirror)."""
    parts = urlsplit(text)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        raise _wrong(where, text, "an https address")
    return text


def _anything(_value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value == value.strip() and bool(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)) and value[0] <= value[1]


def _is_spacing(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 3 and not any(isinstance(n, bool) for n in value)
    return numbers and all(isinstance(n, int | float) and 0 < n < 100 for n in value)


def _wrong(where: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where}: got {value!r:.80}, expected {expected}.", _MEND)
