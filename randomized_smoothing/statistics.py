"""Statistics of a sampling pass beside its counts: what certifiers of first order and of soft outputs work from.

For the selected class A they are sums over the samples x + z of the estimation: of the noise where f says A, apart for
samples of even and of odd number (two independent estimates of the gradient of P[A], times sigma^2), and of the softmax
output of A and its square. They come from the very samples that are counted and cost one matrix product per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from torch import Tensor

SOFT: Final = 2
"""Numbers of a moments vector that are about the soft output: its sum and that of its squares."""


@final
class Moments:
    """Sums for class `top` around the input x; `values` is float64 (2 x.numel() + 2), zero at first."""

    def __init__(self, x: Tensor, top: int, drawn: int, values: Sequence[float] = ()) -> None:
        import torch

        self.centre, self.top, self.drawn = x.detach().double().cpu().flatten(), top, drawn
        size = 2 * len(self.centre) + SOFT
        self.values = torch.tensor(values, dtype=torch.float64) if len(values) else torch.zeros(size).double()

    def add(self, rows: Tensor, logits: Tensor, classes: Tensor) -> None:
        """Take in the next samples: rows (k, *shape), logits (k, classes), and the class (k,) of each."""
        import torch

        hits = (classes.cpu() == self.top).double()
        odd = (torch.arange(self.drawn, self.drawn + len(rows)) % 2).double()
        weights = torch.stack([hits * (1.0 - odd), hits * odd])
        sums = weights @ rows.detach().cpu().flatten(1).double() - weights.sum(dim=1, keepdim=True) * self.centre
        soft = logits.detach().cpu().double().softmax(dim=1)[:, self.top].clamp_max(1.0)
        self.values[:-SOFT] += sums.flatten()
        self.values[-SOFT:] += torch.stack([soft.sum(), (soft * soft).sum()])
        self.drawn += len(rows)

    def summary(self) -> dict[str, float]:
        """What certificates need: the product of the two mean vectors, the squares of their lengths, how many samples
        each is of, the input's dimension and largest value, and mean and mean square of the soft output."""
        even, odd = self.values[:-SOFT].view(2, -1)
        counts = (self.drawn + 1) // 2, self.drawn // 2
        means = even / counts[0], odd / max(counts[1], 1)
        return {
            "product": float(means[0] @ means[1]),
            "first": float(means[0] @ means[0]),
            "second": float(means[1] @ means[1]),
            "even": counts[0],
            "odd": counts[1],
            "dimension": len(self.centre),
            "reach": float(self.centre.abs().max()),
            "soft_mean": float(self.values[-2]) / self.drawn,
            "soft_square": float(self.values[-1]) / self.drawn,
        }
