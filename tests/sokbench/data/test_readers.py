"""The standard file formats, from small files written here."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sokbench.data
from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.data import cifar10, imagenet, mnist
from sokbench.data.batches import read_batch
from sokbench.data.catalogue import DATASETS
from sokbench.data.files import file_sha256
from sokbench.data.idx import idx_files, read_idx, read_split
from sokbench.data.split import ArraySplit


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOKBENCH_DATA", str(tmp_path))
    return tmp_path


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def batch_bytes(pixels: np.ndarray[Any, Any], labels: list[int], dtype: bytes = b"u1") -> bytes:
    """A CIFAR batch as Python 2 and its numpy wrote them: protocol 2 with byte strings."""
    raw, rows = pixels.tobytes(), len(pixels)

    def string(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + string(b"b") + b"\x87R"
        b"(" + integer(1) + integer(rows) + integer(3072) + b"\x86"
        b"cnumpy\ndtype\n" + string(dtype) + integer(0) + integer(1) + b"\x87R"
        b"(" + integer(3) + string(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
        b"\x89" + string(raw) + b"tb"
    )
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + listed + b"u."


def some_pixels(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def test_names_and_unknown_names() -> None:
    assert sokbench.data.names() == ["mnist5k", "mnist", "fashion_mnist", "cifar10", "imagenet"]
    with pytest.raises(UnknownName, match="did you mean"):
        sokbench.data.load("cifar-10")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "imagenet"])
def test_what_is_missing_is_said_without_reading(name: str, here: Path) -> None:
    found = sokbench.data.availability(name)
    assert not found.ready
    assert "https://" in found.detail
    assert "\n" not in found.detail
    assert str(here) in found.detail


def test_idx_round_trip(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"\0"),
        gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"),
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01abcd"),
        idx_bytes(np.zeros((5, 5)))[:-9],
    ],
    ids=["empty", "not gzip", "short", "too few", "floats", "truncated"],
)
def test_broken_idx_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(InvalidInput, match="IDX"):
        read_idx(tmp_path / "a.gz")


def test_an_idx_data_set_from_files(here: Path) -> None:
    images, labels = np.arange(2 * 784, dtype=np.uint16).astype(np.uint8).reshape(2, 28, 28), np.array([3, 7])
    (here / "x").mkdir()
    names = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    for name, array in zip(names, (images, labels), strict=True):
        (here / "x" / name).write_bytes(idx_bytes(array))
    files = idx_files("http://127.0.0.1:9/", ("x",), {name: file_sha256(here / "x" / name) for name in names})
    split = read_split("X", files, "test")
    assert split.labels.tolist() == [3, 7]
    assert np.array_equal(split.pixels[:, 0], images)


def test_mnist_npz_must_hold_the_known_digits(here: Path) -> None:
    arrays = {
        f"{kind}_{part}": np.zeros((2, 28, 28) if kind == "x" else 2, np.uint8)
        for kind in "xy"
        for part in ("train", "test")
    }
    np.savez(here / "mnist.npz", **arrays)
    assert sokbench.data.availability("mnist").ready
    with pytest.raises(InvalidInput, match="not the known ones"):
        _ = sokbench.data.load("mnist").test
    assert len(mnist.read(DATASETS["mnist"], "test")) == 2


@pytest.mark.parametrize("arrays", [{}, {"x_test": np.zeros((2, 3)), "y_test": np.zeros(2)}], ids=["empty", "shape"])
def test_a_wrong_npz_is_refused(here: Path, arrays: dict[str, Any]) -> None:
    np.savez(here / "mnist.npz", **arrays)
    with pytest.raises(InvalidInput, match=r"mnist\.npz"):
        _ = sokbench.data.load("mnist").test


def test_an_npz_with_pickles_is_refused(here: Path) -> None:
    np.savez(here / "mnist.npz", x_test=np.array([print], dtype=object), y_test=np.zeros(1))
    with pytest.raises(InvalidInput, match=r"mnist\.npz"):
        _ = sokbench.data.load("mnist").test


def test_a_cifar_batch_is_read_without_pickle(tmp_path: Path) -> None:
    pixels = some_pixels(3)
    (tmp_path / "b").write_bytes(batch_bytes(pixels, [1, 2, 9]))
    assert pickle.loads(batch_bytes(pixels, [1]), encoding="bytes")[b"labels"] == [1]  # the test's own writer is right
    read, labels = read_batch(tmp_path / "b")
    assert np.array_equal(read, pixels)
    assert labels.tolist() == [1, 2, 9]


class _Strangers:
    """A pickle that would run a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_strangers_pickle_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for protocol in (0, 2, 5):
        (tmp_path / "b").write_bytes(pickle.dumps({b"data": _Strangers(mark), b"labels": []}, protocol))
        with pytest.raises(InvalidInput, match="is not a CIFAR-10 batch"):
            read_batch(tmp_path / "b")
    (tmp_path / "asks").write_bytes(b"\x80\x02cos\nsystem\nU\x04true\x85R.")
    with pytest.raises(InvalidInput, match=r"it asks for os\.system, which no CIFAR batch needs"):
        read_batch(tmp_path / "asks")
    assert not mark.exists()
    pickle.loads((tmp_path / "b").read_bytes())  # the same bytes are dangerous elsewhere
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        batch_bytes(some_pixels(2), [1, 2])[:-50],
        batch_bytes(some_pixels(2), [1]),
        batch_bytes(some_pixels(2), [1, 2], dtype=b"O8"),
        b"\x80\x05\x96" + b"\xff" * 6 + b"\0\0.",
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        pickle.dumps({b"labels": [1]}),
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": "x", b"labels": [1]}),
    ],
    ids=[
        "empty",
        "header",
        "truncated",
        "labels",
        "objects",
        "huge array",
        "deep",
        "no data",
        "list",
        "no array",
    ],
)
def test_broken_batches_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(InvalidInput):
        read_batch(tmp_path / "b")


def test_a_number_in_a_batch_reserves_no_memory(tmp_path: Path) -> None:
    # the unpickler in C would reserve 64 GB for this memo entry
    (tmp_path / "b").write_bytes(batch_bytes(some_pixels(2), [1, 2])[:-1] + b"r\xff\xff\xff\xff.")
    assert read_batch(tmp_path / "b")[1].tolist() == [1, 2]


def archive_of(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)


def test_cifar_from_the_archive_unpacks_six_files_only(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = here / "made" / "cifar-10-batches-py"
    source.mkdir(parents=True)
    for position, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        (source / name).write_bytes(batch_bytes(some_pixels(2, position), [position, 1]))
    (source / "surprise").write_text("not asked for")
    archive_of(source, here / "cifar-10-python.tar.gz")
    known = replace(cifar10.ARCHIVE, sha256=file_sha256(here / "cifar-10-python.tar.gz"))
    monkeypatch.setattr(cifar10, "ARCHIVE", known)
    assert sokbench.data.availability("cifar10").ready
    info = DATASETS["cifar10"]
    train, test = cifar10.read(info, "train"), cifar10.read(info, "test")
    assert train.labels.tolist() == [0, 1, 1, 1, 2, 1, 3, 1, 4, 1]
    assert np.array_equal(test.pixels, some_pixels(2, 5))
    assert len(list((here / "cifar-10-batches-py").iterdir())) == 6


def test_cifar_from_sheets(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / "cifar10"
    folder.mkdir()
    pixels = some_pixels(10_000)
    sheet = pixels.reshape(100, 100, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(3200, 3200, 3)
    Image.fromarray(sheet).save(folder / "test_batch.webp", lossless=True, quality=0, method=0)
    for index in range(1, 6):
        (folder / f"data_batch_{index}.webp").symlink_to(folder / "test_batch.webp")
    labels = np.arange(10_000) % 10
    np.savez(folder / "labels.npz", y_test=labels, y_train=np.tile(labels, 5)[:-1])
    split = cifar10.read(DATASETS["cifar10"], "test")
    assert np.array_equal(split.pixels, pixels)
    assert split.sha256 == ArraySplit(pixels, labels).sha256
    with pytest.raises(InvalidInput, match="not the known ones"):
        _ = sokbench.data.load("cifar10").test
    Image.new("RGB", (10, 10)).save(folder / "test_batch.webp")
    with pytest.raises(InvalidInput, match="100 x 100"):
        cifar10.read(DATASETS["cifar10"], "test")
    np.savez(folder / "labels.npz", y_other=labels)
    with pytest.raises(InvalidInput, match=r"labels\.npz"):
        cifar10.read(DATASETS["cifar10"], "test")


def test_imagenet_from_a_folder(here: Path) -> None:
    for name, size, colour in (("n02", (300, 600), (255, 0, 0)), ("n01", (512, 256), (0, 0, 255))):
        (here / "imagenet" / "val" / name).mkdir(parents=True)
        Image.new("RGB", size, colour).save(here / "imagenet" / "val" / name / "a.png")
    info = replace(DATASETS["imagenet"], num_classes=2)
    split = imagenet.read(info, "test")
    assert split.labels.tolist() == [0, 1]
    assert split.images.shape == (2, 3, 224, 224)
    assert split.image(0)[:, 100, 100].tolist() == [0.0, 0.0, 1.0]
    assert split.image(1)[:, 100, 100].tolist() == [1.0, 0.0, 0.0]
    before = split.sha256
    (here / "imagenet" / "val" / "n01" / "b.jpeg").write_bytes(b"no image")
    changed = imagenet.read(info, "test")
    assert changed.sha256 != before
    with pytest.raises(InvalidInput, match="cannot be read as an image"):
        changed.image(1)
    with pytest.raises(InvalidInput, match="2 class folders, expected 1000"):
        _ = sokbench.data.load("imagenet").test
    with pytest.raises(InvalidInput, match="no class folders"):
        _ = sokbench.data.load("imagenet").train


def test_the_centre_of_an_image_is_kept(here: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    (here / "imagenet" / "val" / "n01").mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(ramp)).save(here / "imagenet" / "val" / "n01" / "a.png")
    split = imagenet.read(replace(DATASETS["imagenet"], num_classes=1), "test")
    expected = (np.arange(16, 240) / 255).astype(np.float32)
    assert np.array_equal(split.image(0)[0, 0], expected)
