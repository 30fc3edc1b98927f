"""How memory is asked for where the same large blocks are needed again and again."""

from __future__ import annotations

from functools import cache

_BLOCK = 31 * 2**20


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of giving it back to the system.

    A pass that asks for all of its tensors anew may spend two thirds of its time on page faults. What is kept grows to
    the largest block that was mapped and freed, up to 32 MiB; so one is. Once per process, and without effect on other
    C libraries.
    """
    import torch

    torch.empty(_BLOCK, dtype=torch.uint8)
