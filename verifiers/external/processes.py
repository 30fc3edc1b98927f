"""Programs of others: run within a limit, and ended with everything they started."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_TAG = "SOKBENCH_TOOL_RUN"
_LOG_BYTES = 4_000


@dataclass(frozen=True)
class Ended:
    """code: the exit code, None if the time was up; log: the last of what was printed."""

    code: int | None
    log: str


def run_tree(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> Ended:
    """Run `command` in `folder`; after `seconds`, or when it ends, nothing that it started is left.

    Whatever it starts inherits a tag in its environment, so that it is found although it left the process group and
    its parent is gone; a program that clears its environment as well can only be ended by the runner.
    Raises `OSError` if it cannot be started.
    """
    tag = uuid.uuid4().hex
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, _TAG: tag},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_all(process, tag)
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
        return Ended(code, log.read().decode(errors="replace"))


def _end_all(process: subprocess.Popen[bytes], tag: str) -> None:
    """Kill until nothing with the tag is left: a process may start another while it is being killed."""
    while found := _tagged(tag):
        for member in found:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                member.kill()
        psutil.wait_procs(found, timeout=1.0)
        process.poll()
    process.wait()


def _tagged(tag: str) -> list[psutil.Process]:
    found = []
    for member in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if member.status() != psutil.STATUS_ZOMBIE and member.environ().get(_TAG) == tag:
                found.append(member)
    return found
