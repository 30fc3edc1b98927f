"""Every kind of torch module and operation that graphs are made from, against the module itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.verifiers.graph.readers.test_from_torch import randomize
from verifiers.graph import trace
from verifiers.graph.bivariate import Max
from verifiers.graph.elementwise import Relu
from verifiers.graph.rewriting.simplify import simplify

Shape = tuple[int, ...]


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attention(nn.Module):
    """Multi-head self-attention written by hand, in a transformer encoder block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))

    def split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.split(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), dim=-1)
        x = self.first(x + self.out((weights @ value).transpose(1, 2).flatten(2)))
        return self.second(x + self.feed(x)).mean(dim=1)


class Sequences(nn.Module):
    """An LSTM, its last output and its last state."""

    def __init__(self, **options: bool | int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        outputs, (hidden, cell) = self.lstm(x)
        return torch.cat([outputs[:, -1], outputs.mean(1), hidden[-1], cell[0]], dim=1)


class Weighted(nn.Module):
    """Multi-head attention as it is called by default: with its weights, and time first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.MultiheadAttention(4, 2, batch_first=True), nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, weights = self.first(x, x, x)
        x = x.transpose(0, 1)
        x = torch.tanh(x + self.second(x, x, x)[0]) * 2.0 - x
        return torch.cat([x.transpose(0, 1), weights @ torch.ones(5, 1)], dim=2)


class Masked(nn.Module):
    """Causal attention in three spellings, and a layer with a mask that leaves out one position."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(3, 1, 4, batch_first=True)
        seen = torch.ones(5, 5, dtype=torch.bool).tril()
        self.register_buffer("seen", seen)
        self.register_buffer("added", torch.zeros(5, 5).masked_fill(~seen, -torch.inf) + 0.5)
        self.register_buffer("hidden", torch.zeros(5, 5).index_fill(1, torch.tensor([2]), -torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        attend = nn.functional.scaled_dot_product_attention
        both = attend(x, x.tanh(), x, is_causal=True) + attend(x, x.tanh(), x, attn_mask=self.seen)
        return self.layer(both - attend(x, x.atan(), x, attn_mask=self.added), src_mask=self.hidden)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(x.shape[0], 4)
        for step in range(x.shape[1]):
            hidden, cell = self.cell(x[:, step], (hidden, cell))
        return self.head(hidden)


class Token(nn.Module):
    """A learned token and positions, as in a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(2, 4, 2, stride=2), nn.Parameter(torch.randn(1, 1, 4))
        self.position = nn.Parameter(torch.randn(1, 7, 4))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1) + self.position


def positive(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x.abs() + 0.5)


INDICES = torch.tensor([2, 0, 2])
MASK = torch.tensor([True, False, True, True])

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.2),
    "leaky": lambda x: F.leaky_relu(x, 0.3),
    "steep": lambda x: F.leaky_relu(x, 1.5),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.25, -0.5, 2.0])),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "arctan": torch.arctan,
    "softplus": lambda x: F.softplus(x, 2.0),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "exp": torch.exp,
    "log": positive(torch.log),
    "sqrt": positive(torch.sqrt),
    "rsqrt": positive(torch.rsqrt),
    "reciprocal": positive(torch.reciprocal),
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clamp below": lambda x: x.clamp(min=0.1),
    "clamp above": lambda x: x.clamp(max=0.1),
    "clamp by tensors": lambda x: x.clamp(-torch.ones(4) / 2, torch.ones(4)),
    "square": torch.square,
    "cube": lambda x: x**3,
    "inverse square": positive(lambda x: x**-2),
    "root": positive(lambda x: x**0.5),
    "exponential": lambda x: 2.0**x,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "log sigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "threshold": lambda x: torch.maximum(x, torch.tensor(0.25)),
    "negative": lambda x: -x,
}

COMBINATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add scaled": lambda x: torch.add(x, x * x, alpha=2),
    "reflected": lambda x: 1 - x,
    "product": lambda x: x * x.flip(1),
    "quotient": lambda x: x / (x.abs() + 1),
    "broadcast": lambda x: x[:, :1] * x + x[:, :, :1],
    "constants": lambda x: x[:, :1] + torch.arange(12.0).reshape(3, 4),
    "wider": lambda x: x.unsqueeze(1) - torch.ones(5, 1, 1),
    "maximum": lambda x: torch.maximum(x, x.flip(2)),
    "minimum": lambda x: torch.min(x, 0.5 * x.flip(2)),
    "largest": lambda x: x.amax((1, 2)),
    "largest of one": lambda x: x.max(2)[0] + x.max(2, keepdim=True).values.squeeze(2),
    "smallest": lambda x: x.amin(1) - x.min(1).values.flip(1),
    "where": lambda x: torch.where(MASK, x, -x),
    "masked": lambda x: x.masked_fill(MASK, 2.0),
    "softmax": lambda x: F.softmax(x, -1),
    "softmax of rows": lambda x: F.softmax(x, 1),
    "log softmax": lambda x: F.log_softmax(x, 1),
    "cross": lambda x: x @ x.mT,
    "bmm": lambda x: torch.bmm(x.mT, x),
    "constant left": lambda x: torch.ones(2, 3) @ x,
    "constant right": lambda x: x @ torch.arange(8.0).reshape(4, 2),
    "constant batch": lambda x: x.unsqueeze(1) @ torch.arange(24.0).reshape(2, 4, 3),
    "vector": lambda x: x @ torch.arange(4.0),
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x),
    "mean": lambda x: x.mean(-1),
    "mean of all": lambda x: x.mean((1, 2), keepdim=True),
    "sum": lambda x: x.sum(1),
    "sum of both": lambda x: x.sum((-1, 1)),
    "layer norm": lambda x: F.layer_norm(x, (4,)),
    "layer norm of both": lambda x: F.layer_norm(x, (3, 4), torch.ones(3, 4) / 2, torch.ones(3, 4)),
    "group norm": lambda x: F.group_norm(x, 3, torch.arange(3.0), torch.ones(3)),
    "instance norm": F.instance_norm,
    "rms norm": lambda x: F.rms_norm(x, (4,), eps=0.1),
}

ARRANGEMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "chunk": lambda x: x.chunk(2, 2)[1],
    "split": lambda x: x.split([1, 3], 2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "select": lambda x: x[:, 1],
    "slices": lambda x: x[:, 1:, ::2],
    "last": lambda x: x[..., -1],
    "gather": lambda x: x[:, INDICES],
    "pairs": lambda x: x[:, INDICES, INDICES],
    "index select": lambda x: torch.index_select(x, 1, INDICES),
    "stack": lambda x: torch.stack([x, 2 * x], 1),
    "cat": lambda x: torch.cat([x, x[:, :1], 2 * x], 1),
    "cat of constants": lambda x: torch.cat([torch.ones(x.shape[0], 2, 4), x], 1),
    "transpose": lambda x: x.transpose(1, 2),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, 2)),
    "unsqueeze": lambda x: x.unsqueeze(-1).squeeze(-1).unsqueeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1),
    "repeat": lambda x: x.repeat(1, 2, 1),
    "flip": lambda x: x.flip(1, 2),
    "roll": lambda x: x.roll(1, 2),
    "permute": lambda x: x.unsqueeze(1).permute(0, 3, 1, 2),
    "batch away and back": lambda x: F.relu(F.linear(x.transpose(0, 1), torch.ones(2, 4))).transpose(0, 1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad with ones": lambda x: F.pad(x, (1, 0), value=1.0),
    "crop": lambda x: F.pad(x, (-1, 2)),
    "reflect": lambda x: F.pad(x, (2, 1), mode="reflect"),
    "casts": lambda x: x.float().contiguous().clone().detach().to(x.dtype),
}

IMAGES: dict[str, nn.Module] = {
    "same": nn.Conv2d(2, 3, (3, 2), padding="same"),
    "same, dilated": nn.Conv2d(2, 3, 3, padding="same", dilation=2),
    "circular": nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    "transposed": nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
    "max pool": nn.MaxPool2d(2),
    "max pool padded": nn.MaxPool2d(3, 2, 1),
    "max pool ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max pool dilated": nn.MaxPool2d(2, 1, dilation=2),
    "global max": nn.AdaptiveMaxPool2d(1),
    "average ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average inside": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average ceil inside": nn.AvgPool2d(2, 3, 1, True, False),
    "average divisor": nn.AvgPool2d(2, divisor_override=3),
    "average uneven": nn.AdaptiveAvgPool2d((2, 4)),
    "zero pad": nn.ZeroPad2d((1, 0, 2, 1)),
    "nearest": nn.Upsample(scale_factor=2),
    "shuffle": nn.Sequential(nn.Conv2d(2, 4, 1), nn.PixelShuffle(2)),
    "dropouts": nn.Sequential(nn.Dropout2d(), nn.AlphaDropout(), nn.Identity()),
    "prelu": nn.PReLU(2),
    "token": Token(),
    "instance norm": nn.InstanceNorm2d(2, affine=True),
    "group norm": nn.GroupNorm(2, 2),
    "softmax": nn.Softmax2d(),
}

LINES: dict[str, nn.Module] = {
    "conv": nn.Sequential(nn.Conv1d(3, 4, 3, padding=1, stride=2), nn.BatchNorm1d(4), nn.ReLU()),
    "conv same": nn.Conv1d(3, 2, 2, padding="same"),
    "conv transposed": nn.ConvTranspose1d(3, 2, 2, 2),
    "max pool": nn.MaxPool1d(2, 1),
    "average pool": nn.AvgPool1d(3, 2, 1),
    "global": nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten()),
}

SEQUENCES: dict[str, nn.Module] = {
    "lstm": Sequences(),
    "lstm, no bias": Sequences(bias=False),
    "lstm, layers and directions": Sequences(num_layers=2, bidirectional=True),
    "cell": Cell(),
    "attention": nn.Sequential(nn.Linear(3, 4), Attention(4, 2)),
    "attention with weights": nn.Sequential(nn.Linear(3, 4), Weighted()),
    "encoder": nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")),
    "masked": Masked(),
    "encoder, norm first": nn.TransformerEncoderLayer(3, 3, 5, batch_first=True, norm_first=True),
}

CASES: list[tuple[str, nn.Module, Shape]] = [
    *((f"activation {name}", Function(f), (3, 4)) for name, f in (ACTIVATIONS | COMBINATIONS | ARRANGEMENTS).items()),
    *((f"image {name}", module, (2, 6, 4)) for name, module in IMAGES.items()),
    *((f"line {name}", module, (3, 5)) for name, module in LINES.items()),
    *((f"sequence {name}", module, (5, 3)) for name, module in SEQUENCES.items()),
]


@pytest.mark.parametrize(("module", "shape"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_graph_equals_module(module: nn.Module, shape: Shape) -> None:
    torch.manual_seed(1)
    module = randomize(module)
    x = torch.randn(4, *shape)
    graph = trace(module, shape)
    assert torch.allclose(graph.forward(x), module(x), atol=2e-6, rtol=2e-6)
    torch.set_default_dtype(torch.float64)  # of the constants that functions make
    try:
        expected = copy.deepcopy(module).double()(x.double())
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.allclose(simplify(graph).forward(x.double()), expected, rtol=1e-12, atol=1e-12)


def test_max_pool_is_a_tree_of_maxima() -> None:
    graph = trace(nn.MaxPool2d(2), (1, 4, 4))
    shapes = [node.shape for node in graph.nodes if isinstance(node.op, Max)]
    assert shapes == [(1, 2, 4), (1, 2, 2)]


def test_maximum_with_a_constant_is_a_relu() -> None:
    graph = trace(Function(lambda x: torch.maximum(x, torch.ones(4))), (4,))
    assert [type(node.op) for node in graph.nodes if node.op.name in ("relu", "max")] == [Relu]


def test_maximum_with_a_large_constant_cancels_nothing() -> None:
    graph = trace(Function(lambda x: x.clamp(min=-1e20)), (4,))
    x = torch.randn(5, 4)
    assert torch.equal(graph.forward(x), x)


def test_softmax_is_exact_on_its_diagonal() -> None:
    """The difference x_i - x_i is no difference of two variables: its row of weights is zero."""
    graph = simplify(trace(nn.Softmax(dim=-1), (3,)))
    assert graph.row_sums[1] is not None
    assert graph.row_sums[1].reshape(3, 3).diagonal().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("frozen", [False, True])
def test_encoder_layers_do_not_depend_on_the_fast_path(frozen: bool) -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval().requires_grad_(not frozen)
    x = torch.randn(3, 5, 4)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.allclose(trace(layer, (5, 4)).forward(x), layer(x), atol=2e-6)
    assert torch.backends.mha.get_fastpath_enabled()
