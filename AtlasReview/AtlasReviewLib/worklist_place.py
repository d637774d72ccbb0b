"""Where the worklist of a dataset folder is: a file in it, or a PostgreSQL database that several people share.

The address of a database comes from an option, the environment variable ATLAS_WORKLIST or `worklist.json` in the dataset
folder, in this order. A password belongs into none of them but the environment: PGPASSFILE (or ~/.pgpass) keeps it safer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.names import safe_name

NAME = "worklist.sqlite"
FILE = "worklist.json"
ENVIRONMENT = "ATLAS_WORKLIST"
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_SECRETS = ("password", "sslpassword", "passwd", "pwd")
_EXAMPLE = "postgresql://ada@server.example/atlas?sslmode=verify-full"


@dataclass(frozen=True)
class WorklistPlace:
    """Where tasks and events of one dataset are kept.

    Attributes:
        folder: The dataset folder.
        url: Address of a PostgreSQL database, or "" for `worklist.sqlite` in the folder. May hold a password: show `shown`.
        dataset: Name of this dataset in a shared database; "" in a file of its own.
    """

    folder: Path
    url: str = field(default="", repr=False)
    dataset: str = ""

    @property
    def file(self) -> Path:
        """The SQLite file, whether it is used or not."""
        return self.folder / NAME

    @property
    def shown(self) -> str:
        """The place for messages and logs, without a password."""
        return without_password(self.url) if self.url else str(self.file)

    @property
    def exists(self) -> bool:
        """Whether there may be a worklist: a database can only be asked."""
        return bool(self.url) or self.file.is_file()


def place_of(folder: Path, url: str = "", environment: Mapping[str, str] = os.environ) -> WorklistPlace:
    """Return where the worklist of a dataset folder is.

    Args:
        folder: The dataset folder.
        url: Address of a database that somebody typed; "" looks further.
        environment: Of the process.

    Raises:
        InputError: The address is none of PostgreSQL, or holds a password where others could read it; worklist.json is broken.
        DatasetError: The name of the dataset in worklist.json cannot be used.
    """
    folder = Path(folder)
    stated = _stated(folder)
    if url:
        found = checked_url(url, "the address of the worklist")
    elif environment.get(ENVIRONMENT, "").strip():
        found = checked_url(environment[ENVIRONMENT], ENVIRONMENT, secret=True)
    elif stated.get("url"):
        found = checked_url(stated["url"], str(folder / FILE))
    else:
        return WorklistPlace(folder)
    return WorklistPlace(folder, found, safe_name(stated.get("dataset") or folder.resolve().name, "name of the dataset"))


def checked_url(url: str, source: str, secret: bool = False) -> str:
    """Return an address of a PostgreSQL database in the form that the driver takes.

    Args:
        url: Such as postgresql://ada@server.example/atlas?sslmode=verify-full.
        source: Where it came from, for messages.
        secret: A password may be in it, as nobody else can read the source.

    Raises:
        InputError: It is none, or holds a password.
    """
    try:
        parts = urlsplit(url.strip())
        has_password = parts.password is not None or any(key.lower() in _SECRETS for key, _ in parse_qsl(parts.query, True))
        known = parts.scheme.lower() in _SCHEMES and parts.port != 0
    except ValueError:
        known = has_password = False
    if not known:  # the text itself is not shown: nobody knows where a password is in it
        message = f"{source}: is not the address of a PostgreSQL database."
        raise InputError(message, f"Write it like {_EXAMPLE}.")
    if has_password and not secret:
        message = f"{source}: holds a password."
        remedy = f"Take it out, and keep it in ~/.pgpass (PGPASSFILE) or in the environment (PGPASSWORD, or the address in {ENVIRONMENT})."
        raise InputError(message, remedy)
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, parts.query, ""))


def without_password(url: str) -> str:
    """Return an address as it may be shown: user, server and database alone."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"postgresql://{user}{host}{port}{parts.path}"


def _stated(folder: Path) -> dict[str, str]:
    """Return what worklist.json says; {} without one."""
    file = folder / FILE
    if not file.is_file():
        return {}
    found = read_json(file)
    if not isinstance(found, dict) or not all(isinstance(found.get(key, ""), str) for key in ("url", "dataset")):
        message = f"{file}: is not of the form {{'url': ...}}."
        raise InputError(message, f'Write {{"url": "{_EXAMPLE}"}}, or remove the file to use {NAME}.')
    return found
