"""Fashion-MNIST, from its four IDX files."""

from __future__ import annotations

from .catalogue import DatasetInfo
from .files import Availability, locate, missing_detail
from .idx import idx_files, read_split
from .split import ArraySplit

FILES = idx_files(
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ("fashion_mnist", "FashionMNIST/raw"),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def availability(info: DatasetInfo) -> Availability:
    missing = [file for file in FILES.values() if locate(file) is None]
    if missing:
        return Availability(False, missing_detail(missing))
    return Availability(True, str(locate(FILES["t10k-images-idx3-ubyte.gz"])))


def read(info: DatasetInfo, part: str) -> ArraySplit:
    return read_split(info.title, FILES, part)
