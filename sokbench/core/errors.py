"""The errors that carry meaning across the whole project.

`InvalidInput` is the user's to mend: the command line prints it as one line and exits with 2.
`Unsupported` is a method's honest "I cannot do this"; the runner records it as a status of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InvalidInput(ValueError):
    """Something given from outside is wrong. The message says what is wrong and what to do, in one line."""


class UnknownName(InvalidInput):
    """A name that no method, model, data set or suite answers to; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class Unsupported(Exception):
    """Raised by a method for a problem outside what it can do soundly: `raise Unsupported("why")`."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for messages that must stay on one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
