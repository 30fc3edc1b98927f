"""Process trees: nothing below a process is missed, even while members of the tree end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from sokbench.runner import processes


@pytest.fixture
def orphanage() -> Iterator[tuple[int, int]]:
    """(a child that adopts orphans, a pipe to it): at every byte it forks a worker that forks a sleeper and ends."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        processes.adopt_orphans()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while os.read(read, 1):
            if os.fork() == 0:
                if os.fork() == 0:
                    time.sleep(60)
                os._exit(0)
        os._exit(0)
    yield pid, write
    processes.kill(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


def test_sleepers_whose_parents_end_meanwhile_are_all_killed(orphanage: tuple[int, int]) -> None:
    above, request = orphanage
    for _ in range(40):
        os.write(request, b".")
        end = time.monotonic() + 5.0
        while not processes.below(above) and time.monotonic() < end:
            pass
        assert processes.kill(above) >= 1
        assert processes.below(above) == []
