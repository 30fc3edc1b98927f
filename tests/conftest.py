"""For all tests: the names of tests are the same in every process, because pytest-xdist compares them; examples of
hypothesis have no deadline, because a busy machine is not a failure."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("sokbench", deadline=None)
hypothesis.settings.load_profile("sokbench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: a test's name holds an address; give its parameters ids=")
