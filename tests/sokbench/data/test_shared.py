"""The real MNIST and CIFAR-10, where SOKBENCH_DATA has them."""

from __future__ import annotations

import pytest

import sokbench.data


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_test_split_is_the_known_one(name: str) -> None:
    found = sokbench.data.availability(name)
    if not found.ready:
        pytest.skip(f"{name} is not in SOKBENCH_DATA")
    data = sokbench.data.load(name)
    assert data.sha256 == sokbench.data.info(name).sha256["test"]
    assert data.test.images.shape == (10_000, *data.input_shape)
    assert data.test.labels[:5].tolist() == {"mnist": [7, 2, 1, 0, 4], "cifar10": [3, 8, 8, 0, 6]}[name]
