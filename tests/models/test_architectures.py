"""The networks have the neurons and parameters that the SoK states."""

from __future__ import annotations

import pytest
import torch

from models.architectures import ARCHITECTURES, Normalize, build, neuron_count, parameter_count
from sokbench.core.errors import InvalidInput, UnknownName

# name: (neurons, parameters) on MNIST and on CIFAR-10, from the SoK's site and Sec. VI-A
COUNTS = {
    "fcnn_a": ((50, 16_330), (50, 62_090)),
    "fcnn_b": ((310, 99_710), (310, 328_510)),
    "fcnn_c": ((7_178, 7_111_690), (7_178, 9_454_602)),
    "cnn_a": ((4_814, 166_406), (6_254, 214_918)),
    "cnn_b": ((24_042, 833_786), (31_242, 1_079_834)),
    "cnn_c": ((48_074, 1_974_762), (62_474, 2_466_858)),
    "cnn_d": ((176_138, 13_314_634), (229_898, 17_247_946)),
}
SHAPES = ((1, 28, 28), (3, 32, 32))


def test_all_architectures_have_counts() -> None:
    assert set(COUNTS) == set(ARCHITECTURES)


@pytest.mark.parametrize("which", [0, 1], ids=["mnist", "cifar10"])
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts(name: str, which: int) -> None:
    shape = SHAPES[which]
    neurons, parameters = COUNTS[name][which]
    with torch.device("meta"):
        module = build(name, shape, 10)
    assert neuron_count(name, shape, 10) == neurons
    assert parameter_count(module) == parameters


@pytest.mark.parametrize("name", ["fcnn_a", "cnn_a", "cnn_b", "cnn_c"])
def test_neurons_are_the_relu_units_plus_outputs(name: str) -> None:
    shape = (2, 11, 14)
    module = build(name, shape, 7)
    units = 0

    def count(_layer: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal units
        units += output.numel()

    for layer in module:
        if isinstance(layer, torch.nn.ReLU):
            layer.register_forward_hook(count)
    assert module(torch.zeros(1, *shape)).shape == (1, 7)
    assert neuron_count(name, shape, 7) == units + 7


def test_normalization_is_the_first_layer() -> None:
    torch.manual_seed(0)
    plain = build("cnn_a", (3, 8, 8), 4)
    normalized = build("cnn_a", (3, 8, 8), 4, normalization=((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
    normalized.load_state_dict(
        {f"{int(k.split('.')[0]) + 1}.{k.split('.')[1]}": v for k, v in plain.state_dict().items()}
        | {k: v for k, v in normalized.state_dict().items() if k.startswith("0.")}
    )
    x = torch.rand(5, 3, 8, 8)
    scaled = torch.stack([(x[:, 0] - 0.5) / 0.2, (x[:, 1] - 0.4) / 0.25, (x[:, 2] - 0.3) / 0.5], dim=1)
    torch.testing.assert_close(normalized(x), plain(scaled))
    assert parameter_count(normalized) == parameter_count(plain)


def test_bad_requests_are_named() -> None:
    with pytest.raises(UnknownName, match="did you mean cnn_a"):
        build("cnna", (1, 28, 28), 10)
    with pytest.raises(InvalidInput, match="cannot take inputs"):
        build("cnn_d", (1, 1, 1), 10)
    with pytest.raises(InvalidInput, match="std > 0"):
        Normalize((0.5,), (0.0,))
