"""A worklist server with TLS, set up with the very commands of the README, and what a reader is told when something is wrong with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.task_states import ACCEPTED
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.errors import StorageError
from review_data import make_review_case

pytest_plugins = ("postgres_server",)
PASSWORD = "open sesame"


def section(repository: Path) -> str:
    """Return the README's section about a server."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    return text.split("### A worklist on a server")[1].split("\n## ")[0].split("\n### ")[0]


def blocks(text: str, language: str) -> list[str]:
    return [re.sub(r"^ {3}", "", block, flags=re.MULTILINE) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a server on which somebody ran what the README says, line by line."""
    import postgres_server  # not before pytest has it as a plug-in

    reason = postgres_server.missing()
    if reason:
        pytest.skip(reason)
    server = postgres_server.start(tls=True)
    text = section(repository)
    (sql,) = blocks(text, "sql")
    for statement in re.sub(r"--.*", "", sql).split(";"):
        if statement.strip():
            server.run(statement)
    server.run(*(f"ALTER ROLE {name} PASSWORD '{PASSWORD}'" for name in ("atlas_owner", "ada")))  # \password
    (line,) = re.findall(r"`(hostssl [^`]*\+atlas_readers[^`]*)`", text)
    line = line.replace("10.0.0.0/8", "127.0.0.1/32")
    server.admit(line, line.replace("+atlas_readers", "atlas_owner"))
    secrets = tmp_path_factory.mktemp("secrets") / "pgpass"
    secrets.write_text(f"*:{server.port}:*:*:{PASSWORD}\n")
    secrets.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", str(secrets))
        yield server
    server.stop()


def address(server: Any, user: str = "ada", host: str = "localhost", **options: str) -> str:
    chosen = {"sslmode": "verify-full", "sslrootcert": str(server.authority), **options}
    return f"postgresql://{user}@{host}:{server.port}/atlas?" + "&".join(f"{key}={value}" for key, value in chosen.items() if value)


@pytest.fixture(scope="module")
def worklist_made(server: Any, repository: Path) -> None:
    """Run the command of the owner, and the statements that it prints, as the README says."""
    (command, *_) = [line for block in blocks(section(repository), "bash") for line in block.splitlines() if "worklist init" in line]
    assert "sslmode=verify-full&sslrootcert=" in command
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    program = [sys.executable, "-m", "AtlasReviewLib.program", "worklist", "init", address(server, "atlas_owner")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    psql = [server.psql, address(server, "atlas_owner"), "-v", "ON_ERROR_STOP=1"]
    piped = subprocess.run(psql, input=done.stdout, capture_output=True, text=True, check=False)
    assert piped.returncode == 0, piped.stderr


@pytest.mark.usefixtures("worklist_made")
def test_a_team_that_follows_the_readme_reviews_over_an_encrypted_connection(server: Any, tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "hospital" / "scan").folder
    worklist = Worklist(tmp_path / "hospital", url=address(server))
    worklist.add("scan", "liver", "Ada")
    with worklist.store.reading() as db:
        row = db.connection.exec_driver_sql("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").one()
    assert (row[0], row[1]) in [(True, "TLSv1.3"), (True, "TLSv1.2")]
    task = worklist.take_next("Ada")
    assert task is not None
    worklist.set_state(task, ACCEPTED, "Ada")
    assert [event.account for event in worklist.events()] == ["ada"] * 3
    worklist.close()
    (tmp_path / "hospital" / "worklist.json").write_text(f'{{"url": "{address(server)}"}}')  # step 3
    assert Worklist(tmp_path / "hospital").task("scan", "liver").state == ACCEPTED
    assert case.is_dir()


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "an authority that did not sign it": ({"sslrootcert": "other"}, "certificate verify failed", "authority"),
    "another name than the certificate's": ({"host": "127.0.0.1"}, "does not match host name", "name as its certificate"),
    "no TLS where the server wants it": ({"sslmode": "disable", "sslrootcert": ""}, "no encryption", "verify-full"),
    "a certificate file that is not there": ({"sslrootcert": "/nowhere/ca.crt"}, "does not exist", "Copy the certificate"),
    "a user whom nobody admitted": ({"user": "eve"}, "no pg_hba.conf entry", "pg_hba.conf"),
}


@pytest.mark.usefixtures("worklist_made")
@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_as_it_must_be_is_refused_with_the_cause_and_the_next_step(server: Any, tmp_path: Path, fault: str) -> None:
    options, cause, step = REFUSED[fault]
    chosen = {**options, **({"sslrootcert": str(server.folder / "other.crt")} if options.get("sslrootcert") == "other" else {})}
    with pytest.raises(StorageError) as refused:
        Worklist(tmp_path, url=address(server, **chosen))
    assert cause in refused.value.message
    assert step in refused.value.remedy
    assert PASSWORD not in str(refused.value)


@pytest.mark.usefixtures("worklist_made")
def test_a_server_without_tls_is_refused_by_whoever_wants_it(postgres: Any, server: Any, tmp_path: Path) -> None:
    url = f"postgresql://owner@localhost:{postgres.port}/postgres?sslmode=verify-full&sslrootcert={server.authority}"
    with pytest.raises(StorageError, match="does not support SSL") as refused:
        Worklist(tmp_path, url=url)
    assert "turn TLS on" in refused.value.remedy


@pytest.mark.usefixtures("worklist_made")
def test_a_wrong_password_is_told_and_not_shown(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGPASSWORD", "wrong word")
    with pytest.raises(StorageError, match="password authentication failed") as refused:
        Worklist(tmp_path, url=address(server))
    assert "pgpass" in refused.value.remedy
    assert "wrong word" not in str(refused.value)
