"""What the parent, the fork server (zygote) and the workers say to each other, and the pipe they say it on.

Messages are typed and carry plain data only, so nothing a method does can make the parent run code.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any, final

import msgspec


class Hello(msgspec.Struct, tag=True, frozen=True):
    """Parent to zygote: where to import from."""

    path: list[str]


class Started(msgspec.Struct, tag=True, frozen=True):
    """Zygote to parent: ready to fork."""


class Fork(msgspec.Struct, tag=True, frozen=True):
    """Parent to zygote, with two file descriptors (the worker's pipe, its log): fork a worker.

    dataset: whose test split the worker inherits, "" for none; memory: bytes that it and its descendants may use
    modules: to import before, because an earlier worker needed them
    """

    dataset: str
    memory: int
    modules: list[str]


class Forked(msgspec.Struct, tag=True, frozen=True):
    """Zygote to parent: the worker's process id."""

    pid: int


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Zygote to parent: no worker, because."""

    reason: str


class Reap(msgspec.Struct, tag=True, frozen=True):
    """Parent to zygote: how did this worker end?"""

    pid: int


class Exited(msgspec.Struct, tag=True, frozen=True):
    """Zygote to parent: exit status as `os.waitstatus_to_exitcode` gives it (negative: a signal), None if unknown."""

    code: int | None


class Open(msgspec.Struct, tag=True, frozen=True):
    """Parent to worker: load a network and prepare a method; or, for certificates, load a certifier alone.

    task: of the jobs to come; network: where to load it from, or "" for none; method: slug, or "" for a sampling pass;
    parameters: of the method, or of the sampling pass; stopped: certificates are of passes that may have ended early
    """

    task: str
    network: str
    input_shape: tuple[int, ...]
    method: str
    method_source: str
    parameters: dict[str, Any]
    seed: int
    dataset: str
    data_sha256: str
    stopped: bool = False


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Worker to parent: opened. modules: what was imported since the fork (none if that started threads, which a fork
    would lose)."""

    seconds: float
    modules: list[str]


class Ask(msgspec.Struct, tag=True, frozen=True):
    """Parent to worker: one job.

    parameters: of the sampling pass; counts, moments: what a sampling pass has already, or a certificate is computed
    from; statistics: what a finished pass found beside its counts
    """

    number: int
    index: int
    label: int
    limit: float
    norm: str = ""
    radius: float | None = None
    low: float | None = None
    high: float | None = None
    noise: dict[str, Any] | None = None
    alpha: float | None = None
    parameters: dict[str, Any] = {}
    counts: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    moments: tuple[float, ...] = ()
    statistics: dict[str, float] = {}
    spec: str = ""


class Proved(msgspec.Struct, tag=True, frozen=True):
    """Worker to parent, during a radius search: this radius is certified, whatever happens next."""

    number: int
    radius: float


class Counted(msgspec.Struct, tag=True, frozen=True):
    """Worker to parent, during a sampling pass: so far this was counted, in so many seconds."""

    number: int
    seconds: float
    counts: tuple[tuple[int, ...], tuple[int, ...]]
    moments: tuple[float, ...]


class Values(msgspec.Struct, frozen=True):
    """An array: numpy dtype, shape, bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Answer(msgspec.Struct, tag=True, frozen=True):
    """Worker to parent: the answer to the job of that number, or why there is none (`termination`, `reason`).

    left_running: the method left processes behind
    """

    number: int
    seconds: float
    termination: str = "ok"
    reason: str = ""
    verdict: str = "unknown"
    margin: float | None = None
    certified_radius: float | None = None
    prediction: int | None = None
    p: float | None = None
    q: float | None = None
    witness: Values | None = None
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    stats: dict[str, Any] = {}
    left_running: bool = False


Message = Hello | Started | Fork | Forked | Refused | Reap | Exited | Open | Ready | Ask | Proved | Counted | Answer

_LENGTH = struct.Struct("<Q")
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Closed(Exception):
    """The other side is gone."""


@final
class Pipe:
    """Messages over a stream socket, each with its length before it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send one message, with file descriptors if given. Raises `Closed`."""
        payload = msgspec.msgpack.encode(message)
        self.socket.settimeout(None)
        try:
            self.socket.sendall(_LENGTH.pack(len(payload)) + payload)
            if descriptors:
                socket.send_fds(self.socket, [b"F"], descriptors)
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self, timeout: float | None = None) -> Message:
        """The next message. Raises `Closed`, and `TimeoutError` if it is not all here after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, end))
        return _DECODER.decode(self._read(length, end))

    def descriptors(self, count: int) -> list[int]:
        """File descriptors that were sent with the last message. Raises `Closed`."""
        mark, found, _, _ = socket.recv_fds(self.socket, 1, count)
        if not mark:
            raise Closed("end of file")
        return list(found)

    def _read(self, size: int, end: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self.socket.settimeout(None if end is None else max(end - time.monotonic(), 1e-3))
            try:
                part = self.socket.recv(size - len(parts))
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from None
            if not part:
                raise Closed("end of file")
            parts += part
        return bytes(parts)
