"""Methods that theory says are equal, and orders that it promises."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sokbench
from sokbench.core.method import BoundingVerifier
from sokbench.core.network import Network
from tests.verifiers.bounds.nets import convolutional, dense

BALLS = [sokbench.Ball("linf", 0.05), sokbench.Ball("linf", 0.1, 0.0, 1.0), sokbench.Ball("linf", 0.4, 0.0, 1.0)]


def margins(slug: str, network: Network, x: Tensor, labels: Tensor, ball: sokbench.Ball) -> Tensor:
    method = sokbench.method(slug)
    assert isinstance(method, BoundingVerifier)
    return method.margins(network, x, labels, ball)


def questions(seed: int) -> list[tuple[Network, Tensor, Tensor]]:
    """A dense and a convolutional network with a residual block, and inputs."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for module, shape in ((dense([4, 15, 15, 15, 3], seed, 2.0), (4,)), (convolutional(seed), (2, 6, 6))):
        network = sokbench.load_network(module.float(), input_shape=shape)
        x = torch.rand(3, *shape, generator=generator)
        found.append((network, x, torch.randint(3, (3,), generator=generator)))
    return found


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), ball=st.sampled_from(BALLS))
def test_parallel_lines_forwards_backwards_and_by_duality(seed: int, ball: sokbench.Ball) -> None:
    """DeepZ = Fast-Lin = Wong and Kolter, three computations."""
    for network, x, labels in questions(seed):
        fastlin = margins("fastlin", network, x, labels, ball)
        for other in ("deepz", "wk"):
            assert torch.allclose(margins(other, network, x, labels, ball), fastlin, rtol=1e-9, atol=1e-9), other


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["l2", "l1"]), cut=st.booleans())
def test_duality_in_other_norms(seed: int, norm: str, cut: bool) -> None:
    ball = sokbench.Ball(norm, 0.3, 0.0, 1.0) if cut else sokbench.Ball(norm, 0.3)  # type: ignore[arg-type]
    for network, x, labels in questions(seed):
        fastlin, wk = (margins(slug, network, x, labels, ball) for slug in ("fastlin", "wk"))
        assert torch.allclose(wk, fastlin, rtol=1e-9, atol=1e-9)


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), ball=st.sampled_from(BALLS))
def test_symbolic_intervals_forwards_and_backwards(seed: int, ball: sokbench.Ball) -> None:
    """AI2's zonotopes = hBox."""
    for network, x, labels in questions(seed):
        hbox, zonotope = (margins(slug, network, x, labels, ball) for slug in ("hbox", "ai2_zonotope"))
        assert torch.allclose(hbox, zonotope, rtol=1e-9, atol=1e-9)


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), ball=st.sampled_from(BALLS))
def test_crown_is_deeppoly_and_cnn_cert(seed: int, ball: sokbench.Ball) -> None:
    for network, x, labels in questions(seed):
        crown = margins("crown", network, x, labels, ball)
        assert torch.equal(margins("cnn_cert", network, x, labels, ball), crown)
        # they differ where u = -l, which random weights do not give
        assert torch.allclose(margins("deeppoly", network, x, labels, ball), crown, rtol=1e-9, atol=1e-9)


def test_crown_and_deeppoly_differ_on_ties() -> None:
    """f_0 - f_1 = relu(x) - x on [-1, 1], x written as relu(x + 5) - 5: the line z is exact, the line 0 not."""
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.copy_(torch.tensor([0.0, 5.0]))
        module[2].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        module[2].bias.copy_(torch.tensor([5.0, 0.0]))
    network = sokbench.load_network(module, input_shape=(1,))
    x, labels, ball = torch.zeros(1, 1), torch.tensor([0]), sokbench.Ball("linf", 1.0)
    found = {slug: float(margins(slug, network, x, labels, ball)[0, 1]) for slug in ("crown", "deeppoly")}
    assert abs(found["crown"]) < 1e-12
    assert abs(found["deeppoly"] + 1.0) < 1e-12


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_orders(seed: int) -> None:
    """With one hidden layer all start from the same exact intervals: the linear program is never below any of them,
    and forward+backward, CROWN-IBP and CROWN are one method."""
    network = sokbench.load_network(dense([3, 8, 3], seed, 2.0).float(), input_shape=(3,))
    generator = torch.Generator().manual_seed(seed)
    x, labels, ball = torch.rand(2, 3, generator=generator), torch.tensor([0, 1]), sokbench.Ball("linf", 0.3)
    program = margins("lp_full", network, x, labels, ball)
    for slug in ("crown", "crown_zero", "fastlin", "deepz", "wk", "hbox", "forward_lirpa", "forward_backward"):
        assert bool((margins(slug, network, x, labels, ball) <= program + 1e-6).all()), slug
    crown = margins("crown", network, x, labels, ball)
    for slug in ("crown_ibp", "forward_backward"):
        assert torch.allclose(margins(slug, network, x, labels, ball), crown, rtol=1e-9, atol=1e-9)
