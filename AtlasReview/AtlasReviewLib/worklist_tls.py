"""Whether what goes to a worklist server can be read, or the server be feigned, on the way: told once, as libpq says nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

_ENCRYPTED = ("require", "verify-ca", "verify-full")
_log = logging.getLogger(__name__)


def unprotected(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return one line that says why a connection may go without TLS and what to do, "" where it may not or never leaves the machine.

    libpq takes what the address does not say from the environment, and asks for TLS without insisting on it ("prefer") when neither
    says anything.

    Args:
        url: Address of a PostgreSQL database, or "".
        environment: Of the process.
    """
    if not url:
        return ""
    parts = urlsplit(url)
    given = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    named = given.get("hostaddr") or given.get("host") or unquote(parts.netloc.rpartition("@")[2])
    servers = named or environment.get("PGHOSTADDR") or environment.get("PGHOST") or ""
    far = [name for name in servers.split(",") if not _is_here(name)]
    system = (given.get("sslrootcert") or environment.get("PGSSLROOTCERT")) == "system"  # libpq verifies then
    mode = given.get("sslmode") or environment.get("PGSSLMODE") or ("verify-full" if system else "")
    gss = given.get("gssencmode") or environment.get("PGGSSENCMODE")
    if not far or mode in _ENCRYPTED or gss == "require":
        return ""
    why = f"sslmode={mode} does" if mode else "no sslmode in its address does"
    return (
        f"The worklist server {far[0].strip('[]')} may be talked to without encryption ({why} not ask for it): "
        "end its address with ?sslmode=verify-full&sslrootcert=FILE."
    )


def warn_once(url: str) -> None:
    """Log what `unprotected` says, once in a process for each address."""
    text = unprotected(url)
    if text:
        _warn(text)


@cache
def _warn(text: str) -> None:
    _log.warning("%s", text)


def _is_here(name: str) -> bool:
    """Tell whether a server is this machine: a socket file, localhost or a loopback address; a port may follow."""
    name = name.strip()
    host = name[1:].partition("]")[0] if name.startswith("[") else name if name.count(":") > 1 else name.partition(":")[0]
    if not host or host.startswith(("/", "@")) or host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
