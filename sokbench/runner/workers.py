"""The parent's side of a worker: start it, ask it, and end it, with everything it started, at its limit.

One zygote has one worker at a time, so "everything below the zygote" is exactly what the current worker left behind.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final, final

import msgspec

from ..core.errors import InvalidInput
from ..core.registry import ROOT
from . import processes
from .protocol import (
    Answer,
    Ask,
    Closed,
    Counted,
    Exited,
    Fork,
    Forked,
    Hello,
    Message,
    Open,
    Pipe,
    Proved,
    Ready,
    Reap,
    Refused,
    Started,
)

GRACE: Final = 0.15
"""Seconds after the limit in which an answer still counts: a method that keeps its deadline by itself notices it a
little late. Whatever arrives later is a timeout."""

FIRST_LOOK, LOOK_EVERY = 0.05, 0.1
"""Seconds until the memory of a job is looked at, and then between looks. Fast methods are never looked at."""

_START_LIMIT: Final = 300.0
_LOG_BYTES: Final = 4_000
_LOG_CAP: Final = 16 * 2**20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Stopped:
    """A job that gave no answer. termination: timeout, memory or crashed; proved: best radius it had certified."""

    termination: str
    reason: str
    seconds: float
    proved: float | None = None


@final
class Zygote:
    """A fork server of our own. Use it as a context manager: when it closes, nothing that it started is left."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise InvalidInput("running suites needs Linux (process limits by subreapers and pidfds)")
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": search}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sokbench.runner.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self._pipe = Pipe(ours)
        self._modules: list[str] = []
        self._request(Hello(sys.path), Started, _START_LIMIT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, dataset: str, memory: int, channel: socket.socket, log: IO[bytes]) -> int:
        """Fork a worker that serves `channel` and prints to `log`; returns its process id."""
        if self._process.poll() is not None:
            self.close()
            self._start()
        self._pipe.send(Fork(dataset, memory, self._modules), [channel.fileno(), log.fileno()])
        self._modules = []
        reply = self._receive(_START_LIMIT)
        if isinstance(reply, Refused):
            raise InvalidInput(reply.reason)
        if not isinstance(reply, Forked):
            raise InvalidInput(f"the worker server answered {reply}")
        return reply.pid

    def remember(self, modules: list[str]) -> None:
        """Have later workers start with these modules imported."""
        self._modules += modules

    def exit_code(self, pid: int) -> int | None:
        """How a worker ended: exit code, negative for a signal, None if nobody knows."""
        try:
            reply = self._request(Reap(pid), Exited, 5.0)
        except InvalidInput:
            return None
        return reply.code if isinstance(reply, Exited) else None

    def sweep(self) -> int:
        """Kill everything below the server; returns how many processes that were."""
        return processes.kill(self.pid) if self._process.poll() is None else 0

    def close(self) -> None:
        """End the server and everything below it."""
        self.sweep()
        self._pipe.socket.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _request(self, message: Message, expected: type[Message], timeout: float) -> Message:
        try:
            self._pipe.send(message)
        except Closed:
            raise self._broken() from None
        reply = self._receive(timeout)
        if not isinstance(reply, expected):
            raise InvalidInput(f"the worker server answered {reply}")
        return reply

    def _receive(self, timeout: float) -> Message:
        try:
            return self._pipe.receive(timeout)
        except (Closed, TimeoutError):
            raise self._broken() from None

    def _broken(self) -> InvalidInput:
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return InvalidInput(f"the worker server does not answer{': ' + last[0] if last else ''}")


@final
class Worker:
    """One worker process, from its fork to its end."""

    def __init__(self, zygote: Zygote, dataset: str, memory: int) -> None:
        self._zygote, self._memory = zygote, memory
        ours, theirs = socket.socketpair()
        self._pipe = Pipe(ours)
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (closed in `close`)
        # the worker shares this open file: after a truncation it must write at the end, not where it was
        fcntl.fcntl(self._log, fcntl.F_SETFL, fcntl.fcntl(self._log, fcntl.F_GETFL) | os.O_APPEND)
        self.pid = zygote.fork(dataset, memory, theirs, self._log)
        theirs.close()
        self._ended = os.pidfd_open(self.pid)
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._poll.register(self._ended, select.POLLIN)
        self.alive = True

    def open(self, opening: Open, limit: float) -> Ready | Answer | Stopped:
        """Load network and method. An `Answer` says why that failed."""
        reply = self._exchange(opening, limit, -1)
        if isinstance(reply, Ready):
            self._zygote.remember(reply.modules)
        return reply

    def ask(self, ask: Ask, counted: Callable[[Counted], None] = lambda part: None) -> Answer | Stopped:
        """Put one job. After `Stopped`, and after an answer that left processes running, the worker is ended.

        counted: called with what a sampling pass says it has counted, as it says so.
        """
        os.ftruncate(self._log.fileno(), 0)
        reply = self._exchange(ask, ask.limit, ask.number, counted)
        if isinstance(reply, Ready):
            raise InvalidInput("the worker opened twice")
        return reply

    def log_tail(self) -> str:
        """The last lines that the current job printed."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES)).decode("utf-8", "replace")
        if size > _LOG_BYTES:
            _, newline, whole_lines = text.partition("\n")
            text = "…" + (whole_lines if newline else text)
        return text.strip()

    def end(self) -> None:
        """Kill the worker and everything it started; its log stays."""
        if self.alive:
            self.alive = False
            self._zygote.sweep()
            os.close(self._ended)
            self._pipe.socket.close()

    def close(self) -> None:
        """Kill the worker and everything it started, and forget its log."""
        self.end()
        self._log.close()

    def _exchange(
        self,
        message: Open | Ask,
        limit: float,
        number: int,
        counted: Callable[[Counted], None] = lambda part: None,
    ) -> Ready | Answer | Stopped:
        started = time.monotonic()
        try:
            self._pipe.send(message)
            reply = self._wait(started, limit, number, counted)
        except Closed:
            reply = Stopped("crashed", self._cause_of_death(), time.monotonic() - started)
        if isinstance(reply, Stopped) or (isinstance(reply, Answer) and (reply.left_running or reply.number < 0)):
            self.end()
        return reply

    def _wait(
        self, started: float, limit: float, number: int, counted: Callable[[Counted], None]
    ) -> Ready | Answer | Stopped:
        fence, look, proved = started + limit + GRACE, started + FIRST_LOOK, None
        while True:
            events = {fd for fd, _ in self._poll.poll(max(0.0, min(look, fence) - time.monotonic()) * 1000)}
            if self._pipe.socket.fileno() in events:
                reply = self._receive(fence)
                if isinstance(reply, Proved) and reply.number == number:
                    proved = reply.radius
                elif isinstance(reply, Counted) and reply.number == number:
                    counted(reply)
                elif isinstance(reply, Ready):
                    return reply
                elif isinstance(reply, Answer) and reply.number == number and reply.seconds <= limit + GRACE:
                    return _with_radius(reply, proved)
            elif self._ended in events:
                return Stopped("crashed", self._cause_of_death(), time.monotonic() - started, proved)
            now = time.monotonic()
            if now >= fence:
                return Stopped("timeout", f"killed at the limit of {limit:g} s", now - started, proved)
            if now >= look:
                look = now + LOOK_EVERY
                excess = self._excess()
                if excess:
                    return Stopped("memory", excess, now - started, proved)

    def _receive(self, fence: float) -> Message | None:
        """The message that has begun to arrive; None if it is not whole at the deadline."""
        try:
            return self._pipe.receive(max(fence - time.monotonic(), 0.01))
        except TimeoutError:
            return None

    def _excess(self) -> str:
        if os.fstat(self._log.fileno()).st_size > _LOG_CAP:
            os.ftruncate(self._log.fileno(), 0)
        used = processes.memory(self.pid, self._memory)
        if used <= self._memory:
            return ""
        return f"killed at {used / 2**30:.2f} GiB, the limit is {self._memory / 2**30:g} GiB"

    def _cause_of_death(self) -> str:
        code = self._zygote.exit_code(self.pid)
        if code is None:
            return "the worker vanished"
        if code >= 0:
            return f"the worker exited with code {code}"
        try:
            return f"the worker died by {signal.Signals(-code).name}"
        except ValueError:
            return f"the worker died by signal {-code}"


def _with_radius(answer: Answer, proved: float | None) -> Answer:
    """A search that broke off certified what it had reported before."""
    if answer.certified_radius is None and proved is not None:
        return msgspec.structs.replace(answer, certified_radius=proved)
    return answer
