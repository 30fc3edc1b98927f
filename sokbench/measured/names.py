"""Names people read and names files get: slugs, radii, settings, models, formatted numbers."""

from __future__ import annotations

import decimal
import hashlib
import math
import re

NORMS = {
    "linf": "ℓ∞",
    "l2": "ℓ2",
    "l1": "ℓ1",
    "l0": "ℓ0",
    "translation": "translation, pixels",
    "brightness_contrast": "brightness and contrast, deviations",
}


def slug(name: str) -> str:
    """A file name that is safe everywhere and differs between names; readable where it can be."""
    if re.fullmatch(r"[a-z0-9_][a-z0-9_./-]{0,79}", name) and not re.search(r"--|//|\.\.|\./|/$", name):
        return name.replace("/", "--")
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{plain or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def dataset_key(name: str) -> str:
    """What CIFAR-10, cifar10 and CIFAR10 have in common."""
    return re.sub(r"[^a-z0-9]+", "", name.lower()) or slug(name)


def radius_text(radius: float) -> str:
    """A radius as the field writes it: 8/255 where it is a multiple of 1/255 and no short decimal."""
    if radius == 0 or round(radius, 3) == radius:
        return f"{radius:g}"
    steps = radius * 255
    if abs(steps - round(steps)) < 1e-4 and 1 <= round(steps) <= 255:
        return f"{round(steps)}/255"
    return f"{radius:.4g}"


def norm_text(norm: str) -> str:
    return NORMS.get(norm, norm)


def setting_slug(dataset: str, norm: str, radius: float | None) -> str:
    """Such as cifar10-linf-8-255; without a radius, the norm alone."""
    radius_part = "" if radius is None else "-" + radius_text(radius).replace("/", "-").replace(".", "_")
    return f"{dataset_key(dataset)}-{norm}{radius_part}"


def setting_text(dataset: str, norm: str, radius: float | None) -> str:
    """Such as: CIFAR-10, ℓ∞, 8/255."""
    parts = [dataset, norm_text(norm)] + ([] if radius is None else [radius_text(radius)])
    return ", ".join(parts)


def model_parts(model: str) -> tuple[str, str]:
    """(architecture, training) of a zoo name such as mnist5k/cnn_a/cadv; of any other name, the name and nothing."""
    parts = model.split("/")
    if len(parts) == 3 and not model.endswith((".onnx", ".onnx.gz")) and all(parts):
        return parts[1], parts[2]
    return parts[-1] or model, ""


def seconds_text(seconds: float | None) -> str:
    """Three significant digits with a unit that keeps them short."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 0.0095:
        return f"{seconds * 1000:#.2g} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:#.3g} s"
    return f"{seconds / 60:#.3g} min" if seconds < 5400 else f"{seconds / 3600:#.3g} h"


def rounded_down(value: float, digits: int = 6) -> str:
    """A proved lower bound to so many significant digits, never above the bound itself."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exact = decimal.Decimal(value)
    last = decimal.Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return f"{exact.quantize(last, rounding=decimal.ROUND_FLOOR).normalize():f}"


def percent_text(share: float | None) -> str:
    """A share in [0, 1] as percent, with a decimal only where it says something."""
    if share is None:
        return "–"
    value = round(100 * share, 1)
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
