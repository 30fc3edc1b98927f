from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sokbench.runner.workers import Zygote

from .workshop import NETWORK, Workshop


@pytest.fixture(scope="session")
def networks_on_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on sys.path with the network "workshop_nets:pixels"."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "workshop_nets.py").write_text(NETWORK)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def zygote(networks_on_path: Path) -> Iterator[Zygote]:
    with Zygote() as server:
        yield server


@pytest.fixture
def workshop(tmp_path: Path, networks_on_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def shared_workshop(tmp_path: Path, zygote: Zygote) -> Workshop:
    """A workshop for `answers`."""
    return Workshop(tmp_path, zygote)
