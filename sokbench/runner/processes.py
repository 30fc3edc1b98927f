"""Process trees on Linux: find everything a worker started, however it hid, count its memory, and end it.

Zygote and worker are child subreapers (prctl(2)): an orphan, such as a daemon that forked twice and called setsid, is
handed to the nearest of them instead of to init, so everything a method ever starts stays below the zygote.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PATIENCE: Final = 10.0
"""Seconds to wait for killed processes to vanish; only one stuck in the kernel takes longer than milliseconds."""
_LOOKS: Final = 20
_LISTED: Final = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the kernel keeps lists of children (CONFIG_PROC_CHILDREN)."""


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal to this process when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def fence_memory(limit: int) -> None:
    """Let one process map at most twice its limit more than it does now.

    The limit itself is on resident memory and the parent keeps it; this only makes a single absurd allocation fail in
    the method, with a message, before it can bring the machine to its knees.
    """
    now = psutil.Process().memory_info().vms
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = now + 2 * limit
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def below(pid: int) -> list[psutil.Process]:
    """The descendants of a process that are alive, or were during the look; empty if it is gone.

    A process that forks and ends during the look hides its child from it, so looks are repeated until two find the same
    processes, the dead ones included: who flees leaves a dead one behind at every step, or changes its number.
    """
    before, alive = _descendants(pid)
    for _ in range(_LOOKS):
        found, now_alive = _descendants(pid)
        if found == before:
            return now_alive or alive
        before, alive = found, now_alive
    return alive


def _descendants(pid: int) -> tuple[set[int], list[psutil.Process]]:
    """(all, those alive)."""
    found: set[int] = set()
    alive: list[psutil.Process] = []
    left = [pid]
    while left:
        fresh = _children(left.pop()) - found
        found |= fresh
        left += fresh
        for child in sorted(fresh):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(child)
                alive += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return found, alive


def _children(pid: int) -> set[int]:
    """By the kernel's own lists, which take less time to read than a fork; where it keeps none, by psutil."""
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        if not _LISTED:
            return {child.pid for child in psutil.Process(pid).children()}
        for task in os.listdir(f"/proc/{pid}/task"):
            found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii").split()))
    return found


def kill(above: int) -> int:
    """End every descendant of the process `above`; returns how many there were.

    They are stopped first, until nothing new shows up: a stopped process cannot fork, so none slips away. Raises
    `TimeoutError` if one cannot be killed (stuck in the kernel).
    """
    stopped: dict[int, psutil.Process] = {}
    end = time.monotonic() + _PATIENCE
    while found := below(above):
        fresh = [process for process in found if process.pid not in stopped]
        for process in fresh:
            stopped[process.pid] = process
            _send(process, signal.SIGSTOP)
        if time.monotonic() > end:
            raise TimeoutError(f"cannot kill the processes {[process.pid for process in found]}")
        if fresh:
            continue
        for process in found:
            _send(process, signal.SIGKILL)
        time.sleep(0.001)
    return len(stopped)


def memory(pid: int, limit: int) -> int:
    """Bytes of memory in use by a process and its descendants, exactly only where it matters.

    Resident sizes count shared pages once per process; only if they exceed `limit` is the proportional size read,
    which costs milliseconds.
    """
    try:
        tree = [psutil.Process(pid), *below(pid)]
    except psutil.NoSuchProcess:
        return 0
    resident = sum(_bytes(process, proportional=False) for process in tree)
    return resident if resident <= limit else sum(_bytes(process, proportional=True) for process in tree)


def _bytes(process: psutil.Process, proportional: bool) -> int:
    try:
        return int(process.memory_full_info().pss if proportional else process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def has_children() -> bool:
    """Whether this process has children, dead or alive; takes microseconds."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
