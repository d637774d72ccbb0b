"""Downloads on bad days: cut, killed, changed, damaged, refused, behind a proxy. A wrong or half file never gets its name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from AtlasSegmentLib.errors import ModelError, StorageError
from AtlasSegmentLib.model_catalogue import CatalogueFile
from AtlasSegmentLib.model_download import Downloaded, Patience, download
from model_server import ModelServer, model_server

CONTENT = np.random.default_rng(5).bytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = np.random.default_rng(6).bytes(1_000_003)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with model_server() as running:
        running.files["/a/model.zip"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "model.zip"


def fetch(server: ModelServer, target: Path, *, tries: int = 3, path: str = "/a/model.zip", **published: object) -> Downloaded:
    """Download without waiting between the tries."""
    patience = Patience(tries=tries, timeout=10, sleep=lambda _: None)
    return download(CatalogueFile(server.url(path), **published), target, patience=patience)  # type: ignore[arg-type]


def left(target: Path) -> list[str]:
    """Return what lies in the target's folder."""
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def cut_short(server: ModelServer, target: Path, size: int, **published: object) -> None:
    """Download until the connection is cut for good."""
    server.cuts = [size, 0, 0]
    with pytest.raises(ModelError, match="goes on where it stopped"):
        fetch(server, target, tries=2, **published)
    server.cuts = []
    assert (target.parent / "model.zip.part").stat().st_size == size
    server.requests.clear()


def test_a_file_comes_whole_and_is_checked_against_what_is_published(server: ModelServer, target: Path) -> None:
    told: list[float] = []
    file = CatalogueFile(server.url("/a/model.zip"), "", len(CONTENT), SHA256, hashlib.sha1(CONTENT).hexdigest())
    done = download(file, target, lambda share, _: told.append(share))
    assert (done.path, done.size, done.sha256, done.resumed) == (target, len(CONTENT), SHA256, 0)
    assert done.checked == ("size", "sha256", "sha1")
    assert target.read_bytes() == CONTENT
    assert left(target) == ["model.zip"]
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_checksum_that_is_not_published_is_told_and_nothing_counts_as_checked(server: ModelServer, target: Path) -> None:
    done = fetch(server, target)
    assert (done.sha256, done.checked) == (SHA256, ())


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
def test_a_cut_connection_is_taken_up_again_by_itself_without_fetching_anything_twice(
    server: ModelServer, target: Path, length: bool
) -> None:
    server.length = length
    server.cuts = [300_000, 500_000] if length else []
    assert fetch(server, target, sha256=SHA256).sha256 == SHA256
    wanted = [None, "bytes=300000-", "bytes=800000-"] if length else [None]
    assert [request.range for request in server.requests] == wanted


def test_the_next_start_goes_on_where_the_last_one_stopped(server: ModelServer, target: Path) -> None:
    cut_short(server, target, 400_000)
    done = fetch(server, target)
    assert (done.resumed, target.read_bytes() == CONTENT) == (400_000, True)
    assert [(request.range, request.if_range is not None) for request in server.requests] == [("bytes=400000-", True)]


def test_a_process_that_was_killed_goes_on_where_it_stopped(server: ModelServer, target: Path) -> None:
    server.hold = 600_000
    program = (
        "import sys; from pathlib import Path; from AtlasSegmentLib.model_catalogue import CatalogueFile; "
        "from AtlasSegmentLib.model_download import download; download(CatalogueFile(sys.argv[1]), Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", program, server.url("/a/model.zip"), str(target)], env=environment)
    part = target.with_name("model.zip.part")
    end = time.monotonic() + 20
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    child.kill()
    child.wait(10)
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not target.exists()
    server.hold = None
    done = fetch(server, target)
    assert (done.resumed, target.read_bytes() == CONTENT) == (kept, True)


def test_a_kill_between_the_last_byte_and_the_name_needs_no_second_download(server: ModelServer, target: Path) -> None:
    cut_short(server, target, 700_000)
    with target.with_name("model.zip.part").open("ab") as part:
        part.write(CONTENT[700_000:])
    assert fetch(server, target).sha256 == SHA256
    assert server.requests == []


def test_a_server_that_cannot_send_parts_sends_the_file_anew(server: ModelServer, target: Path) -> None:
    cut_short(server, target, 400_000)
    server.ranges = False
    assert fetch(server, target).sha256 == SHA256
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("validator", ["etag", "weak", ""])
def test_a_file_that_changed_in_between_is_never_mixed_with_the_old_part(server: ModelServer, target: Path, validator: str) -> None:
    server.validator = validator
    cut_short(server, target, 400_000)
    server.files["/a/model.zip"] = OTHER
    assert fetch(server, target).sha256 == hashlib.sha256(OTHER).hexdigest()
    assert target.read_bytes() == OTHER


def test_without_a_validator_a_published_checksum_lets_it_go_on_and_finds_a_mixture(server: ModelServer, target: Path) -> None:
    server.validator = ""
    cut_short(server, target, 400_000, sha256=SHA256)
    assert fetch(server, target, sha256=SHA256).resumed == 400_000
    target.unlink()
    cut_short(server, target, 400_000, sha256=SHA256)
    server.files["/a/model.zip"] = OTHER
    with pytest.raises(ModelError, match="SHA-256"):
        fetch(server, target, sha256=SHA256)
    assert left(target) == []


def test_a_part_of_another_address_is_not_continued(server: ModelServer, target: Path) -> None:
    cut_short(server, target, 400_000)
    server.files["/b/model.zip"] = OTHER
    assert fetch(server, target, path="/b/model.zip").resumed == 0
    assert target.read_bytes() == OTHER


def test_a_part_that_is_longer_than_the_servers_file_is_dropped(server: ModelServer, target: Path) -> None:
    cut_short(server, target, 400_000)
    with target.with_name("model.zip.part").open("ab") as part:
        part.write(bytes(2_000_000))
    assert fetch(server, target).sha256 == SHA256


@pytest.mark.parametrize("state", ["", "[]", "{", '{"format": "other"}'])
def test_a_damaged_note_beside_the_part_starts_anew(server: ModelServer, target: Path, state: str) -> None:
    cut_short(server, target, 400_000)
    target.with_name("model.zip.part.json").write_text(state)
    assert (fetch(server, target).resumed, left(target)) == (0, ["model.zip"])


@pytest.mark.parametrize(
    ("published", "words"),
    [({"sha256": "0" * 64}, "SHA-256 is"), ({"sha1": "0" * 40}, "SHA-1 is"), ({"md5": "0" * 32}, "MD5 is"), ({"size": 5}, "1000003 bytes")],
)
def test_a_wrong_file_is_removed_and_both_values_are_told(
    server: ModelServer, target: Path, published: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        fetch(server, target, **published)
    assert server.url("/a/model.zip") in caught.value.message
    assert left(target) == []


def test_a_wrong_size_is_found_also_when_the_server_does_not_say_it(server: ModelServer, target: Path) -> None:
    server.length = False
    with pytest.raises(ModelError, match="size is 1000003, and 5"):
        fetch(server, target, size=5)
    assert left(target) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "login or a form"), (404, "not there any more"), (407, "wants a login"), (500, "not ready"), (418, "HTTP 418")],
)
def test_a_refusal_is_told_with_the_next_step_and_nothing_is_left(server: ModelServer, target: Path, status: int, words: str) -> None:
    server.statuses = [status] * 3
    with pytest.raises(ModelError, match=words) as caught:
        fetch(server, target)
    assert caught.value.remedy
    assert left(target) == []


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: ModelServer, target: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server, target).sha256 == SHA256


def test_a_web_page_in_place_of_the_file_is_no_model(server: ModelServer, target: Path) -> None:
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(ModelError, match="web page"):
        fetch(server, target)
    assert left(target) == []


def test_packed_transfer_is_refused_as_its_bytes_are_not_those_of_the_file(server: ModelServer, target: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(ModelError, match="packs the file"):
        fetch(server, target)


def test_redirects_are_followed_but_never_away_from_the_web(server: ModelServer, target: Path, tmp_path: Path) -> None:
    server.redirects = {"/old": server.url("/a/model.zip"), "/evil": (tmp_path / "secret").as_uri()}
    (tmp_path / "secret").write_text("x")
    assert fetch(server, target, path="/old").sha256 == SHA256
    with pytest.raises(ModelError, match=r"not protected|cannot be reached|HTTP 302"):
        fetch(server, target.with_name("other"), path="/evil")
    assert left(target) == ["model.zip"]


@pytest.mark.usefixtures("server")
def test_a_server_that_is_not_there_is_told(target: Path) -> None:
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        download(CatalogueFile("http://127.0.0.1:9/model.zip"), target, patience=Patience(sleep=lambda _: None))
    assert "atlas model add FOLDER" in caught.value.remedy


def test_the_proxy_of_the_environment_is_used_with_its_login_and_no_proxy_goes_around_it(
    server: ModelServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server() as proxy:
        proxy.files["/a/model.zip"] = CONTENT
        monkeypatch.setenv("http_proxy", f"http://ada:secret@127.0.0.1:{proxy.port}")
        done = download(CatalogueFile("http://models.invalid/a/model.zip"), target)
        assert done.sha256 == SHA256
        assert [(request.proxied, bool(request.login)) for request in proxy.requests] == [(True, True)]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch(server, target.with_name("second.zip"))
        assert (len(proxy.requests), len(server.requests)) == (1, 1)


@pytest.mark.usefixtures("server")
def test_a_proxy_that_is_not_there_is_named_without_its_password(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(ModelError, match=r"through the proxy http://127\.0\.0\.1:9") as caught:
        download(CatalogueFile("http://models.invalid/a/model.zip"), target, patience=Patience(sleep=lambda _: None))
    assert "secret" not in str(caught.value)


def test_a_server_whose_certificate_nobody_vouches_for_is_refused(server: ModelServer, target: Path, tmp_path: Path) -> None:
    ssl = pytest.importorskip("ssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext"]
    try:
        made = [*command, "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the program openssl to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with model_server(context) as secure:
        secure.files["/a/model.zip"] = CONTENT
        file = CatalogueFile(f"https://127.0.0.1:{secure.port}/a/model.zip")
        with pytest.raises(ModelError, match="certificate") as caught:
            download(file, target, patience=Patience(sleep=lambda _: None))
        assert "SSL_CERT_FILE" in caught.value.remedy
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificate))
            assert download(file, target).sha256 == SHA256
            secure.redirects["/a/model.zip"] = server.url("/a/model.zip")
            with pytest.raises(ModelError, match="not protected"):
                download(file, target.with_name("other.zip"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    server: ModelServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("AtlasSegmentLib.model_download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="are needed, and 1 KB is free"):
        fetch(server, target)
    assert left(target) == []


def test_a_folder_that_cannot_be_written_is_told(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        fetch(server, tmp_path / "downloads" / "model.zip")
