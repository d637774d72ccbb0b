"""One HTTP request for a file or the rest of one: proxies of the environment, verified TLS, no step back from https to http."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from AtlasSegmentLib.errors import ModelError

BY_HAND = "Download it in a browser, then give the folder or zip file to: atlas model add"
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGENT = "atlas-annotator"


class CutError(Exception):
    """The connection failed in a way that may be gone at the next try."""


class RangeError(Exception):
    """The server has no such part of the file (HTTP 416): what was kept does not fit the file that it has now."""


@dataclass(frozen=True)
class Answer:
    """What a server answers before the first byte.

    Attributes:
        start: Position in the file of the first byte that comes.
        total: Size of the whole file in bytes, or None when the server does not say.
        validator: A strong ETag or a date that tells this version of the file from others, or "".
        stream: The bytes.
    """

    start: int
    total: int | None
    validator: str
    stream: IO[bytes]


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme not in {"http", "https"} or (urlsplit(req.full_url).scheme == "https" and scheme != "https"):
            message = f"{shown(req.full_url)}: the server leads to {shown(newurl)}, which is not protected."
            raise ModelError(message, BY_HAND)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type,unused-ignore]


@contextmanager
def opened(url: str, start: int = 0, validator: str = "", timeout: float = 60.0) -> Iterator[Answer]:
    """Ask for a file from position `start` on and yield the answer; the server may begin at 0 all the same.

    The proxy is that of the environment (http_proxy, https_proxy, no_proxy); TLS is verified against the system's or SSL_CERT_FILE's
    authorities.

    Args:
        url: http or https.
        start: First byte wanted.
        validator: What `Answer.validator` was when the first part came; the server sends the whole file when it has changed since.
        timeout: Seconds without a byte after which the connection counts as cut.

    Raises:
        ModelError: The server refuses, the file is not there, or no file comes but a web page.
        CutError: Trying again may help.
        RangeError: The kept part does not fit.
    """
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": _AGENT})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if validator:
            request.add_header("If-Range", validator)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(), _SafeRedirects())
    try:
        with opener.open(request, timeout=timeout) as response:
            yield _answer(response, url, start)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, url) from error
    except urllib.error.URLError as error:
        raise _unreachable(error.reason, url) from error
    except ssl.SSLError as error:
        raise _unreachable(error, url) from error
    except ValueError as error:  # urllib's word for a proxy that is no address
        message = f"{shown(url)}: cannot be asked for ({error})."
        raise ModelError(message, "Check the environment's http_proxy and https_proxy.") from error
    except (http.client.HTTPException, OSError) as error:
        message = f"{shown(url)}: the connection was cut ({_cause(error)})."
        raise CutError(message) from error


def _answer(response: Any, url: str, start: int) -> Answer:
    headers = response.headers
    if headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        message = f"{shown(url)}: the server packs the file ({headers['Content-Encoding']}), though it was asked not to."
        raise ModelError(message, BY_HAND)
    if headers.get_content_type() == "text/html":
        message = f"{shown(url)}: the server sent a web page in place of the file."
        raise ModelError(message, BY_HAND)
    first, total = _extent(response, url, start)
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")  # a weak ETag promises no equal bytes
    return Answer(first, total, validator, response)


def _extent(response: Any, url: str, start: int) -> tuple[int, int | None]:
    """Return the first byte's position and the size of the whole file."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            message = f"{shown(url)}: the server sent another part than the one asked for ({response.headers.get('Content-Range')})."
            raise ModelError(message, "Run the same command again.")
        return start, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    if error.code == 416:
        return RangeError()
    if error.code in _RETRIED:
        return CutError(f"{shown(url)}: the server is not ready (HTTP {error.code}).")
    if error.code in {401, 403}:
        return ModelError(f"{shown(url)}: the server refuses the file (HTTP {error.code}): it wants a login or a form.", BY_HAND)
    if error.code == 407:
        return ModelError(f"The proxy{_proxy(url)} wants a login (HTTP 407).", "Set https_proxy to http://USER:PASSWORD@HOST:PORT.")
    if error.code in {404, 410}:
        return ModelError(f"{shown(url)}: the file is not there any more (HTTP {error.code}).", BY_HAND)
    return ModelError(f"{shown(url)}: the server answers HTTP {error.code} ({error.reason}).", BY_HAND)


def _unreachable(reason: object, url: str) -> Exception:
    if isinstance(reason, ssl.SSLCertVerificationError):
        message = f"{shown(url)}: the certificate of the server or of a proxy before it cannot be verified ({reason.verify_message})."
        return ModelError(message, "Behind such a proxy set SSL_CERT_FILE to the file of your organization's authority.")
    if isinstance(reason, ConnectionResetError | TimeoutError | ssl.SSLEOFError):
        return CutError(f"{shown(url)}: the connection was cut ({_cause(reason)}).")
    message = f"{shown(url)}: cannot be reached{_through(url)} ({_cause(reason)})."
    return ModelError(message, "Check the network; behind a proxy set https_proxy. Without a network: atlas model add FOLDER.")


def shown(url: str) -> str:
    """Return an address for messages: without user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _proxy(url: str) -> str:
    proxy = urllib.request.getproxies().get(urlsplit(url).scheme, "")
    return f" {shown(proxy)}" if proxy else ""


def _through(url: str) -> str:
    host = urlsplit(url).hostname or ""
    proxy = "" if urllib.request.proxy_bypass(host) else _proxy(url)
    return f" through the proxy{proxy}" if proxy else ""


def _cause(reason: object) -> str:
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
