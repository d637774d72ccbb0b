"""A worklist server that may be talked to without encryption is told of in one line, once, with what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import checked_url
from AtlasReviewLib.worklist_tls import unprotected, warn_once
from AtlasSegmentLib.errors import StorageError


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("postgresql://ada@server.example/atlas", {}),
        ("postgresql://ada@server.example:5433/atlas?sslmode=prefer", {}),
        ("postgresql://ada@server.example/atlas?sslmode=disable", {"PGSSLMODE": "verify-full"}),
        ("postgresql://ada@10.0.0.7/atlas?sslmode=allow", {}),
        ("postgresql://ada@[2001:db8::7]:5432/atlas", {}),
        ("postgresql://localhost.example.org/atlas", {}),
        ("postgresql:///atlas?host=server.example", {}),
        ("postgresql://localhost/atlas?hostaddr=10.0.0.7", {}),
        ("postgresql:///atlas", {"PGHOST": "server.example"}),
        ("postgresql://server.example/atlas?sslmode=nonsense", {}),
    ],
)
def test_a_server_elsewhere_without_enforced_tls_is_told_with_the_remedy(url: str, environment: dict[str, str]) -> None:
    text = unprotected(checked_url(url, "x"), environment)
    assert "may be talked to without encryption" in text
    assert "sslmode=verify-full&sslrootcert=FILE" in text
    assert "\n" not in text
    assert "ada" not in text


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        *((f"postgresql://ada@server.example/atlas?sslmode={mode}", {}) for mode in ("require", "verify-ca", "verify-full")),
        ("postgresql://server.example/atlas", {"PGSSLMODE": "require"}),
        ("postgresql://server.example/atlas?sslrootcert=system", {}),
        ("postgresql://server.example/atlas?gssencmode=require", {}),
        *((f"postgresql://ada@{host}/atlas", {}) for host in ("localhost", "LOCALHOST:5433", "127.0.0.1", "127.1.2.3:9", "[::1]:5432", "")),
        ("postgresql:///atlas?host=/run/postgresql", {}),
        ("postgresql:///atlas", {"PGHOST": "/run/postgresql"}),
    ],
)
def test_nothing_is_said_of_tls_that_is_enforced_or_of_this_machine(url: str, environment: dict[str, str]) -> None:
    assert unprotected(checked_url(url, "x"), environment) == ""
    assert unprotected("", environment) == ""


def test_it_is_logged_once_and_before_the_server_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.delenv("PGSSLMODE", raising=False)
    url = "postgresql://ada:secret@nowhere.invalid/atlas"
    monkeypatch.setenv("ATLAS_WORKLIST", url)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(StorageError):
                Worklist(tmp_path)
        warn_once("postgresql+psycopg://ada:secret@nowhere.invalid/atlas")
    told = [record.getMessage() for record in caplog.records if "encryption" in record.getMessage()]
    assert len(told) == 1
    assert "nowhere.invalid" in told[0]
    assert "secret" not in told[0]
