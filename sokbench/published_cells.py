"""Which published number answers the same question as a measured one.

The SoK's site has 24 tables of certified accuracy, verification time, average certified radius and radius time of its
models. A measured cell is compared with a published one only if data set, norm, radius, architecture and training (with
its radius) are the same. The weights never are: the site's are its authors', ours are trained here.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from .core.errors import InvalidInput
from .core.registry import ROOT

PUBLISHED: Final = ROOT / "results" / "published"
Metric = Literal["certified_accuracy", "verify_time", "average_certified_radius", "radius_time"]

# reference rows have metrics of their own in the site's tables
_REFERENCE = {
    "empirical_robust_accuracy": "certified_accuracy",
    "clean_accuracy_100": "certified_accuracy",
    "average_attack_radius": "average_certified_radius",
}
_Key = tuple[str, str, str, str, float, str, str]


@dataclass(frozen=True)
class Published:
    """text: as printed, percent, seconds, or radius (MNIST absolute, CIFAR-10 in units of 1/255); source: where."""

    text: str
    source: str


def published_value(
    dataset: str,
    architecture: str,
    training: str,
    norm: str,
    radius: float,
    method: str,
    metric: Metric = "certified_accuracy",
) -> Published | None:
    """The published number for the same setting, or None. training: such as "adv8"; method: a slug.

    For the metrics of radii, `radius` is the one the model was trained for (that of the site's table).
    """
    key = (_plain(dataset), _plain(architecture), training, norm, round(radius, 6), method, metric)
    return _values(PUBLISHED).get(key)


def architecture_order() -> list[str]:
    """The site's architectures in the order of its tables, without separators and in lower case: fcnna, fcnnb, ..."""
    rows = _rows(PUBLISHED / "sok_site" / "all_benchmark.csv.gz")
    return list(dict.fromkeys(_plain(row["model"]) for row in rows if row["table_id"] == "model_size"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _values(folder: Path) -> dict[_Key, Published]:
    slugs = tomllib.loads((folder / "method_names.toml").read_text(encoding="utf-8"))["sok_site"]
    found: dict[_Key, Published] = {}
    for row in _rows(folder / "sok_site" / "all_benchmark.csv.gz"):
        # det_cifar10_eps8-255_certified_accuracy: the radius of the table also where a row has none of its own
        table = re.fullmatch(r"det_[a-z0-9]+_eps([0-9.]+)(?:-(\d+))?_[a-z_]+", row["table_id"])
        if table is None:
            continue
        radius = float(table[1]) / float(table[2] or 1)
        metric = _REFERENCE.get(row["metric"], row["metric"])
        model = (_plain(row["dataset"]), _plain(row["model"]), row["training"], row["norm"], round(radius, 6))
        found[*model, slugs[row["method"]], metric] = Published(row["value"], f"SoK site, {row['table_id']}")
    return found


@cache
def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with gzip.open(path) as stream:
            return list(csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8")))
    except (OSError, EOFError) as error:
        raise InvalidInput(f"the published numbers cannot be read: {path} ({error})") from None
