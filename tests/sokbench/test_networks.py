from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sokbench import InvalidInput, UnknownName, load_network
from sokbench.networks import network_sha256

FACTORY = "tests.sokbench.test_networks:make"


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def test_a_torch_module_becomes_a_network():
    network = load_network(make(), input_shape=(1, 2, 2))
    assert (network.num_classes, network.input_shape) == (3, (1, 2, 2))
    assert network(torch.zeros(5, 1, 2, 2)).shape == (5, 3)
    assert not network.module.training


def test_the_hash_follows_the_weights():
    first, second = make(), make()
    second[1].bias.data[0] += 1  # type: ignore[index]
    hashes = {load_network(module, input_shape=(1, 2, 2)).sha256 for module in (make(), first, second)}
    assert len(hashes) == 2


def test_an_importable_factory_is_called():
    assert load_network(FACTORY, input_shape=(1, 2, 2)).name == FACTORY
    assert len(network_sha256(FACTORY)) == 64


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.Linear(4, 3), None, "give input_shape"),
        (nn.Linear(4, 3), (5,), "does not accept inputs of shape"),
        (nn.Conv2d(1, 1, 1), (1, 2, 2), "a classifier gives"),
        (nn.Linear(4, 1), (4,), "a classifier gives"),
    ],
)
def test_a_module_that_is_no_classifier_is_refused(module, shape, message):
    with pytest.raises(InvalidInput, match=message) as error:
        load_network(module, input_shape=shape)
    assert "\n" not in str(error.value)


def test_nan_in_the_weights_is_refused():
    module = nn.Linear(2, 2)
    module.weight.data[0, 0] = math.nan
    with pytest.raises(InvalidInput, match=r"NaN.*weight"):
        load_network(module, input_shape=(2,))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mnist5k/cnn_a/cdav", UnknownName, "did you mean mnist5k/cnn_a/cadv"),
        ("no_such_module:make", InvalidInput, "cannot import"),
        ("tests.sokbench.test_networks:mak", UnknownName, "did you mean make"),
        ("missing.onnx", InvalidInput, "no such file"),
    ],
)
def test_a_name_nothing_answers_to(name, error, message):
    with pytest.raises(error, match=message):
        load_network(name, input_shape=(1, 2, 2))
