"""Where the worklist is: in the folder, or on a server; and no password where others can read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from AtlasReviewLib.server_remedies import remedy_of
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import ENVIRONMENT, FILE, checked_url, place_of, without_password
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError, StorageError

URL = "postgresql://ada@server.example:5433/atlas?sslmode=verify-full"
SECRET = "hunter2"


def test_without_any_address_the_list_is_a_file_in_the_folder(tmp_path: Path) -> None:
    place = place_of(tmp_path, environment={})
    assert (place.url, place.dataset, place.file) == ("", "", tmp_path / "worklist.sqlite")
    assert not place.exists
    assert place.shown == str(tmp_path / "worklist.sqlite")


def test_an_option_counts_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    folder.mkdir()
    (folder / FILE).write_text(json.dumps({"url": URL.replace("atlas", "of_file")}))
    assert place_of(folder, environment={}).url.partition("?")[0].endswith("/of_file")
    environment = {ENVIRONMENT: URL.replace("atlas", "of_environment")}
    assert "of_environment" in place_of(folder, environment=environment).url
    place = place_of(folder, URL, environment)
    assert place.url == URL.replace("postgresql:", "postgresql+psycopg:")
    assert (place.dataset, place.exists) == ("hospital", True)


def test_a_dataset_can_have_another_name_in_the_database_than_its_folder(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"url": URL, "dataset": "LiTS 2017"}))
    assert place_of(tmp_path, environment={}).dataset == "LiTS 2017"
    (tmp_path / FILE).write_text(json.dumps({"url": URL, "dataset": "../x"}))
    with pytest.raises(DatasetError, match="name of the dataset"):
        place_of(tmp_path, environment={})


@pytest.mark.parametrize("text", ["sqlite:///x", "mysql://a@b/c", "host.invalid", "postgresql://a@b:notaport/c", "http://[bad"])
def test_what_is_no_address_of_postgresql_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="is not the address") as refused:
        place_of(tmp_path, text)
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@server.example/atlas",
        f"postgresql://server.example/atlas?user=ada&password={SECRET}",
        f"postgres://ada@server.example/atlas?sslpassword={SECRET}",
        f"postgresql+psycopg://:{SECRET}@server.example/atlas",
    ],
)
def test_a_password_in_the_file_or_on_the_command_line_is_refused_and_never_shown(tmp_path: Path, url: str) -> None:
    (tmp_path / FILE).write_text(json.dumps({"url": url}))
    for place in (lambda: place_of(tmp_path, environment={}), lambda: place_of(tmp_path, url)):
        with pytest.raises(InputError, match="holds a password") as refused:
            place()
        assert SECRET not in str(refused.value)
        assert "pgpass" in refused.value.remedy
    place = place_of(tmp_path, environment={ENVIRONMENT: url})
    assert SECRET in place.url
    assert SECRET not in repr(place) + place.shown


def test_a_user_whom_the_server_does_not_know_is_told_how_to_name_another() -> None:
    said = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  role "root" does not exist'
    assert "PGUSER" in remedy_of(said)
    assert "pgpass" in remedy_of("connection timeout expired")


def test_a_server_that_cannot_be_reached_is_named_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv(ENVIRONMENT, f"postgresql://ada:{SECRET}@127.0.0.1:9/atlas")
    with pytest.raises(StorageError, match=r"postgresql://ada@127\.0\.0\.1:9/atlas: the worklist server cannot be used") as refused:
        Worklist(tmp_path)
    chain, error = "", refused.value
    while error is not None:
        chain += f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    assert SECRET not in chain


@pytest.mark.parametrize(("url", "module", "package"), [("", "sqlalchemy", "alembic"), (URL, "psycopg", "psycopg")])
def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, module: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AtlasError, match=r"which is not installed\. Run: pip install") as refused:
        Worklist(tmp_path, url=url)
    assert package in refused.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_address_is_shown_with_user_server_and_database_alone() -> None:
    assert without_password(checked_url(URL, "x")) == "postgresql://ada@server.example:5433/atlas"
    assert without_password("postgresql+psycopg:///atlas?host=/run/postgresql") == "postgresql:///atlas"
    assert without_password("postgresql+psycopg://ada@[::1]:5432/atlas") == "postgresql://ada@[::1]:5432/atlas"


@pytest.mark.parametrize("content", ["{half", "[]", '{"url": 5}', '{"dataset": ["x"]}'])
def test_a_broken_file_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=FILE):
        place_of(tmp_path, environment={})
