"""Files of data sets: where they are looked for, how they are fetched, and that they are the right ones."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InvalidInput
from ..core.registry import ROOT

_TIMEOUT = 15.0
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Availability:
    """Whether a data set can be loaded now, and where it is or what to do."""

    ready: bool
    detail: str


@dataclass(frozen=True)
class RemoteFile:
    """A file with a known hash. `folder` is relative to the data directory; the first is where a download goes."""

    name: str
    url: str
    sha256: str
    folders: tuple[str, ...]


def data_dir() -> Path:
    """The directory in `SOKBENCH_DATA`, or `data` beside the project."""
    return Path(os.environ.get("SOKBENCH_DATA") or ROOT / "data").expanduser()


def locate(file: RemoteFile) -> Path | None:
    """Where the file is, if it is here; nothing is read."""
    candidates = (data_dir() / folder / file.name for folder in file.folders)
    return next((path for path in candidates if path.is_file()), None)


def missing_detail(files: Sequence[RemoteFile]) -> str:
    """One sentence on how to get files: URL, hash, place."""
    parts = [f"{file.url} (SHA-256 {file.sha256}) as {data_dir() / file.folders[0] / file.name}" for file in files]
    return "get " + "; ".join(parts)


def ensure(title: str, files: Sequence[RemoteFile]) -> list[Path]:
    """Paths of `files`, all with the right hash; those that are missing are downloaded.

    Raises `InvalidInput` with one line: for a file with another hash, or for a download that cannot be done.
    """
    missing = [file for file in files if locate(file) is None]
    for position, file in enumerate(missing):
        try:
            _download(file)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise InvalidInput(
                f"{title} is not here and cannot be downloaded ({reason}); {missing_detail(missing[position:])}"
            ) from None
    return [checked(file) for file in files]


def checked(file: RemoteFile) -> Path:
    """The path of a file that is here, its hash compared. Raises `InvalidInput` for another hash."""
    path = locate(file)
    if path is None:
        raise InvalidInput(f"{file.name} is not here; {missing_detail([file])}")
    found = file_sha256(path)
    if found != file.sha256:
        raise InvalidInput(
            f"{path} has SHA-256 {found}, expected {file.sha256}; delete it and get it again from {file.url}"
        )
    return path


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(file: RemoteFile) -> None:
    """Fetch into a temporary neighbour, compare the hash, then move into place."""
    target = data_dir() / file.folders[0] / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(file.url, timeout=_TIMEOUT) as response,
            part.open("wb") as stream,
            _progress(file.name, int(response.headers.get("Content-Length") or 0)) as advance,
        ):
            while block := response.read(_BLOCK):
                stream.write(block)
                digest.update(block)
                advance(len(block))
        if digest.hexdigest() != file.sha256:
            raise InvalidInput(
                f"the download {file.url} has SHA-256 {digest.hexdigest()}, expected {file.sha256}; it was discarded"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; yields the function that moves it by bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(name, total=total or None)
        yield lambda count: progress.advance(task, count)
