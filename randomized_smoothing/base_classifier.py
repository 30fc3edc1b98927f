"""Which class the base classifier says of a noisy input: the same in whatever batch the input comes.

The class is the top class in float64. Faster arithmetic decides it alone only where the gap between the two largest
logits is far above its rounding; what it leaves open is evaluated again, in float64 at last, and one by one where even
that is close. So neither the shape of a batch nor the number of threads can flip a near tie.

In precision "bfloat16" the base classifier is another one: the network with its weights, and every noisy input, rounded
to bfloat16. Its clear cases are decided by bfloat16 arithmetic throughout, and the others by more digits of the same
rounded network. A certificate is about the classifier that was sampled, so who deploys it must deploy that.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final, Literal, final, get_args
from weakref import WeakKeyDictionary

import torch
from torch import nn

from sokbench.core.errors import InvalidInput, Unsupported, first_line
from sokbench.core.evaluation import logits64
from sokbench.core.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Precision = Literal["float32", "bfloat16"]

NEAR_TIE: Final = 1e-4
"""Gap of the top two logits, relative to the largest logit of the batch, up to which float32 does not decide. The
logits of float32 networks differ from float64 ones by 1e-7 to 1e-5 of that size."""

NEAR_TIE_16: Final = 2.0**-5
"""The same for bfloat16, whose logits differ by up to 0.006 of that size (the shipped networks, and a ResNet-110)."""

NEAR_TIE_64: Final = 1e-9
"""The same for batches in float64, up to which an input is evaluated on its own."""

# the network in bfloat16 and its float32 twin, by network: copies cost more than evaluating them
_ROUNDED: WeakKeyDictionary[Network, tuple[nn.Module, Network]] = WeakKeyDictionary()


@final
class BaseClassifier:
    """network: the one whose top class in float64 is meant; the network given, or the same with rounded weights.

    Raises `InvalidInput` for an unknown precision, `Unsupported` for a network that does not run in it.
    """

    def __init__(self, network: Network, precision: Precision = "float32") -> None:
        if precision not in get_args(Precision):
            raise InvalidInput(f"the precision is {' or '.join(get_args(Precision))}, not {precision!r}")
        self.network = network
        self._levels: list[tuple[Callable[[Tensor], Tensor], float]] = [(network, NEAR_TIE)]
        if precision == "bfloat16":
            if network not in _ROUNDED:
                _ROUNDED[network] = _half(network), rounded(network)
            half, self.network = _ROUNDED[network]
            self._levels = [(lambda rows: half(rows.bfloat16()).float(), NEAR_TIE_16), (self.network, NEAR_TIE)]

    def glance(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits (k, classes), top classes (k,), which of these are decided (k,)) of inputs `rows` (k, *shape)."""
        evaluate, tolerance = self._levels[0]
        logits = evaluate(rows)
        return logits, *_top(logits, tolerance)

    def settle(self, rows: Tensor) -> Tensor:
        """The classes (k,), on the CPU, of inputs that `glance` left open. Raises `InvalidInput` for NaN logits."""
        if len(self._levels) == 1:
            return classes64(self.network, rows)
        evaluate, tolerance = self._levels[1]
        classes, decided = _top(evaluate(rows), tolerance)
        found = classes.cpu()
        if not bool(decided.all()):
            found[~decided.cpu()] = classes64(self.network, rows[~decided])
        return found


def classes64(network: Network, batch: Tensor) -> Tensor:
    """The top class of each input, on the CPU in float64; one by one where a batch is not accurate enough."""
    logits = logits64(network, batch)
    if bool(logits.isnan().any()):
        raise InvalidInput(f"{network.name} gives NaN for a noisy input; its class is undefined")
    found, decided = _top(logits, NEAR_TIE_64)
    for row in (~decided).nonzero().flatten().tolist():
        found[row] = logits64(network, batch[row : row + 1]).argmax()
    return found


def _top(logits: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """(top classes (k,), whether each is ahead by more than the tolerance (k,): not where a logit is NaN)."""
    best, classes = logits.topk(2, dim=1)
    low, high = logits.aminmax()
    return classes[:, 0], best[:, 0] - best[:, 1] > tolerance * torch.maximum(high, -low)


def rounded(network: Network) -> Network:
    """The network with its weights and inputs rounded to bfloat16, all else in the arithmetic of its input."""
    module = copy.deepcopy(network.module)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.bfloat16().to(tensor.dtype)
    inputs = nn.Sequential(_Rounding(), module).eval()
    return Network(network.name, inputs, network.input_shape, network.num_classes, network.sha256)


@final
class _Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.bfloat16().to(x.dtype)


def _half(network: Network) -> nn.Module:
    """The network in bfloat16 throughout. Raises `Unsupported` if it does not run."""
    module = copy.deepcopy(network.module).bfloat16()
    device = next((parameter.device for parameter in module.parameters()), None)
    with torch.no_grad():
        try:
            module(torch.zeros(1, *network.input_shape, dtype=torch.bfloat16, device=device))
        except RuntimeError as error:
            raise Unsupported(f"{network.name} does not run in bfloat16: {first_line(error)}") from None
    return module
