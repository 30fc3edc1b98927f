"""A worker: loads one network and one method, then answers one job after another until the parent hangs up.

Runs in a process of its own, forked by the zygote; the parent ends it at the limit. What the method prints goes to a
file that the parent reads, never to the pipe.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, final

import msgspec

from ..core.errors import InvalidInput, Unsupported
from .processes import adopt_orphans, die_with_parent, fence_memory, has_children
from .protocol import Answer, Ask, Closed, Counted, Open, Pipe, Proved, Ready

if TYPE_CHECKING:
    from ..data.split import Split
    from .tasks import Task

_ALLOCATION = ("can't allocate memory", "not enough memory", "out of memory", "failed to allocate")
"""How torch and its libraries word a failed allocation, which they raise as a plain RuntimeError."""


def live(channel: int, log: int, split: Split | None, memory: int) -> None:
    """The whole life of a worker. channel: the pipe's descriptor; log: where to print; memory: limit in bytes."""
    os.setsid()
    adopt_orphans()
    die_with_parent(signal.SIGKILL)
    _redirect(log)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not everywhere allowed: if memory runs out all the same, the kernel should pick us
        Path("/proc/self/oom_score_adj").write_text("800")
    fence_memory(memory)
    with suppress(Closed):
        _Worker(Pipe(socket.socket(fileno=channel)), split).run()


def _redirect(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    # line by line, so that nothing is lost when the process is killed
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


@final
class _Worker:
    def __init__(self, pipe: Pipe, split: Split | None) -> None:
        self._pipe, self._split = pipe, split
        self._pid = os.getpid()
        self._modules = set(sys.modules)
        self._flush_c = ctypes.CDLL(None).fflush

    def run(self) -> None:
        """Raises `Closed` when the parent hangs up."""
        opening = self._pipe.receive()
        if not isinstance(opening, Open):
            raise Closed(f"expected Open, got {opening}")
        started = time.monotonic()
        try:
            task = self._open(opening)
        except BaseException as error:
            self._reply(Answer(-1, time.monotonic() - started, *describe(error)))
            return
        self._flush()
        self._reply(Ready(time.monotonic() - started, self._news()))
        while True:
            ask = self._pipe.receive()
            if isinstance(ask, Ask):
                self._reply(self._answer(task, ask))

    def _open(self, opening: Open) -> Task:
        import torch

        from .tasks import open_task

        torch.set_num_threads(1)
        if self._split is not None and self._split.sha256 != opening.data_sha256:
            raise InvalidInput(f"the data set {opening.dataset} changed while the suite was running")
        return open_task(opening, self._split, self._reply)

    def _answer(self, task: Task, ask: Ask) -> Answer:
        started = time.monotonic()
        try:
            answer = task(ask)
        except BaseException as error:
            answer = Answer(ask.number, time.monotonic() - started, *describe(error))
        self._flush()
        return answer

    def _reply(self, message: Answer | Ready | Proved | Counted) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a child that a method forked and let return; the worker itself will answer
        if isinstance(message, Answer) and has_children():
            message = msgspec.structs.replace(message, left_running=True)
        self._pipe.send(message)

    def _news(self) -> list[str]:
        """Modules imported since the fork, in the order of their import; none if there are threads now."""
        if len(os.listdir("/proc/self/task")) > 1:
            return []
        return [name for name in sys.modules if name not in self._modules]

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError, OSError):  # the method closed it
                stream.flush()
        self._flush_c(None)


def describe(error: BaseException) -> tuple[str, str]:
    """(termination, one-line reason) of an exception; for a defect the traceback goes to the log.

    `InvalidInput` is no defect: its message says all, and the log stays empty.
    """
    first_line = next(iter(str(error).splitlines()), "")
    if isinstance(error, Unsupported):
        return "unsupported", first_line
    if isinstance(error, MemoryError):
        return "memory", first_line or "MemoryError"
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _ALLOCATION):
        return "memory", first_line
    if isinstance(error, InvalidInput):
        return "crashed", first_line
    traceback.print_exception(error)
    return "crashed", f"{type(error).__name__}: {first_line}".rstrip(": ")
