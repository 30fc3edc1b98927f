"""Downloads against a server on this machine, and files placed by hand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sokbench.core.errors import InvalidInput
from sokbench.data import files
from sokbench.data.files import RemoteFile, ensure, locate

CONTENT = b"digits" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "digits.gz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/digits.gz"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("SOKBENCH_DATA", str(folder))
    return folder


def test_a_missing_file_is_downloaded_once(url: str, here: Path) -> None:
    file = RemoteFile("digits.gz", url, DIGEST, ("digits",))
    assert locate(file) is None
    [path] = ensure("Digits", [file])
    assert path == here / "digits" / "digits.gz"
    assert path.read_bytes() == CONTENT
    offline = RemoteFile("digits.gz", "http://127.0.0.1:9/", DIGEST, ("digits",))
    assert ensure("Digits", [offline]) == [path]
    assert list(here.rglob("*.tmp")) == []


def test_a_download_with_another_hash_is_discarded(url: str, here: Path) -> None:
    with pytest.raises(InvalidInput, match="discarded") as caught:
        ensure("Digits", [RemoteFile("digits.gz", url, "0" * 64, ("digits",))])
    assert "\n" not in str(caught.value)
    assert DIGEST in str(caught.value)
    assert list(here.rglob("*.*")) == []


def test_a_file_with_the_wrong_hash_is_refused(url: str, here: Path) -> None:
    (here / "elsewhere").mkdir(parents=True)
    (here / "elsewhere" / "digits.gz").write_bytes(b"something else")
    file = RemoteFile("digits.gz", url, DIGEST, ("digits", "elsewhere"))
    with pytest.raises(InvalidInput, match=f"expected {DIGEST}") as caught:
        ensure("Digits", [file])
    assert "\n" not in str(caught.value)
    assert (here / "elsewhere" / "digits.gz").read_bytes() == b"something else"


def test_without_a_network_one_line_says_what_to_do(here: Path) -> None:
    file = RemoteFile("digits.gz", "http://127.0.0.1:9/digits.gz", DIGEST, ("digits",))
    other = RemoteFile("labels.gz", "http://127.0.0.1:9/labels.gz", "1" * 64, ("digits",))
    with pytest.raises(InvalidInput) as caught:
        ensure("Digits", [file, other])
    message = str(caught.value)
    assert "\n" not in message
    for needed in (file.url, file.sha256, str(here / "digits" / "digits.gz"), other.url, other.sha256):
        assert needed in message


def test_a_directory_that_cannot_be_written(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOKBENCH_DATA", str(tmp_path / "file"))
    with pytest.raises(InvalidInput, match="Digits is not here and cannot be downloaded"):
        ensure("Digits", [RemoteFile("digits.gz", url, DIGEST, ("digits",))])


def test_the_default_directory_is_beside_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOKBENCH_DATA", raising=False)
    assert files.data_dir().name == "data"
    assert (files.data_dir().parent / "sokbench").is_dir()
