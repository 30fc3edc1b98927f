"""What a call writes to standard output and error, from Python or from a solver's C++."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator


def output_of(call: Callable[[], object]) -> str:
    """The text that `call` writes to the streams of Python and to file descriptors 1 and 2, warnings left out."""
    text = io.StringIO()
    with tempfile.TemporaryFile() as file:
        with warnings.catch_warnings(), _descriptors_to(file.fileno()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                call()
        file.seek(0)
        return text.getvalue() + file.read().decode(errors="replace")


@contextlib.contextmanager
def _descriptors_to(target: int) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        for descriptor, _ in saved:
            os.dup2(target, descriptor)
        yield
    finally:
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
