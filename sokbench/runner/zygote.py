"""The fork server: a process that has torch loaded and forks workers on request (`python -m sokbench.runner.zygote`).

Importing torch and the solvers takes seconds, forking takes milliseconds. The server runs no torch operation, so that
no thread pool exists that a fork would break. When the parent goes, in whatever way, its end of the pipe closes: the
server then kills everything below itself and ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, final

from ..core.registry import catalog
from .processes import adopt_orphans, die_with_parent, kill
from .protocol import Closed, Exited, Fork, Forked, Hello, Pipe, Reap, Refused, Started

if TYPE_CHECKING:
    from ..data.split import Split

_PRELOAD = (
    "numpy",
    "torch",
    "highspy",
    "sokbench.core.evaluation",
    "sokbench.core.method",
    "sokbench.core.radius",
    "sokbench.networks",
    "sokbench.runner.worker",
)
_REAP_PATIENCE = 2.0


@final
class Server:
    """Serves one parent until its end of the pipe closes."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._splits: dict[str, Split | None] = {"": None}
        self._codes: dict[int, int] = {}

    def run(self) -> None:
        """Serve requests. Raises `Closed` when the parent is gone."""
        hello = self._pipe.receive()
        if isinstance(hello, Hello):
            sys.path[:] = hello.path
        for name in _PRELOAD:
            with suppress(ImportError):  # what is missing is reported by the worker that needs it
                importlib.import_module(name)
        catalog()  # scanned once, inherited by every worker
        gc.freeze()
        signal.signal(signal.SIGCHLD, self._collect)
        self._pipe.send(Started())
        while True:
            request = self._pipe.receive()
            if isinstance(request, Fork):
                self._fork(request)
            elif isinstance(request, Reap):
                self._pipe.send(Exited(self._code(request.pid)))

    def _collect(self, number: int, frame: FrameType | None) -> None:
        """Reap whatever ended: workers, and orphans that were handed to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._codes[pid] = os.waitstatus_to_exitcode(status)

    def _code(self, pid: int) -> int | None:
        end = time.monotonic() + _REAP_PATIENCE
        while pid not in self._codes and time.monotonic() < end:
            time.sleep(0.001)
        code = self._codes.get(pid)
        self._codes.clear()
        return code

    def _warm(self, modules: list[str]) -> None:
        """Import what an earlier worker imported, so that a solver's seconds of import are spent once."""
        for name in modules:
            # importing worked in a worker; where it does not work twice, the next worker does without our help
            with suppress(Exception):
                importlib.import_module(name)
        if modules:
            gc.freeze()

    def _fork(self, request: Fork) -> None:
        channel, log = self._pipe.descriptors(2)
        self._warm(request.modules)
        try:
            split = self._split(request.dataset)
        except Exception as error:
            self._pipe.send(Refused(f"cannot load the data set {request.dataset}: {error}"))
        else:
            pid = os.fork()
            if pid == 0:
                self._become_worker(channel, log, split, request.memory)
            self._pipe.send(Forked(pid))
        os.close(channel)
        os.close(log)

    def _split(self, dataset: str) -> Split | None:
        from .. import data

        if dataset not in self._splits:
            self._splits[dataset] = data.load(dataset).test
        return self._splits[dataset]

    def _become_worker(self, channel: int, log: int, split: Split | None, memory: int) -> NoReturn:
        """The life of a worker, in the forked child. It never returns into the server's code."""
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._pipe.socket.close()
            from .worker import live

            live(channel, log, split, memory)
        finally:
            os._exit(0)


def _leave(*_: object) -> NoReturn:
    """End at once, with everything below. Safe at any point, also as a signal handler that interrupts itself."""
    kill(os.getpid())
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, _leave)
    adopt_orphans()
    die_with_parent(signal.SIGTERM)
    try:
        Server(Pipe(socket.socket(fileno=int(sys.argv[1])))).run()
    except Closed:
        pass  # the parent is gone, or done
    except Exception:
        traceback.print_exc()  # the parent shows the last line
    _leave()


if __name__ == "__main__":
    main()
