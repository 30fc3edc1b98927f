"""For all tests: the names of tests are the same in every process, because pytest-xdist compares them."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: a test's name holds an address; give its parameters ids=")
