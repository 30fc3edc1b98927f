"""Affine operations on images (C, H, W)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

from .ops import LinearOp, Shape


@dataclass(frozen=True, eq=False)
class _Kernel(LinearOp):
    """A convolution in either direction: weight (channels, channels of the other side / groups, kh, kw)."""

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def magnitude(self) -> Self:
        return replace(self, weight=self.weight.abs(), bias=None)

    @property
    def offset(self) -> Tensor | None:
        return None if self.bias is None else self.bias[:, None, None]

    @property
    def terms(self) -> int:
        channels, within, height, width = self.weight.shape
        return max(within, channels // self.groups) * height * width


@final
@dataclass(frozen=True, eq=False)
class Conv2d(_Kernel):
    """weight (out, in / groups, kh, kw), bias (out,); zero padding (ph, pw) on both sides."""

    roundings: int = 0

    def linear(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.conv2d(inputs[0], self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        size = (rows.shape[0], *shape)
        # the same map as conv_transpose2d, up to three times as fast in float64
        pulled: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            size, self.weight, rows, self.stride, self.padding, self.dilation, self.groups
        )
        return pulled

    def unit_rows(self, entries: Tensor, in_shape: Shape, out_shape: Shape) -> Tensor:
        """Kernels written at their places on an empty canvas: no product is formed."""
        channel, place = entries // (out_shape[1] * out_shape[2]), entries % (out_shape[1] * out_shape[2])
        tops, lefts = place // out_shape[2] * self.stride[0], place % out_shape[2] * self.stride[1]
        _, within, height, width = self.weight.shape
        rows = tops[:, None] + torch.arange(height, device=entries.device) * self.dilation[0]
        columns = lefts[:, None] + torch.arange(width, device=entries.device) * self.dilation[1]
        first = channel // (out_shape[0] // self.groups) * within
        channels = first[:, None] + torch.arange(within, device=entries.device)
        (top, left), (_, tall, wide) = self.padding, in_shape
        canvas = self.weight.new_zeros(len(entries), in_shape[0], tall + 2 * top, wide + 2 * left)
        each = torch.arange(len(entries), device=entries.device)[:, None, None, None]
        place4 = (each, channels[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :])
        return canvas.index_put(place4, self.weight[channel])[:, :, top : top + tall, left : left + wide]

    def row_norms(self, q: float, in_shape: Shape) -> Tensor | None:
        """Exact for q = 2, where windows that reach into the padding have smaller norms; for infinity the kernel's."""
        if q == 2.0:
            squares = replace(self, weight=self.weight.square())
            return squares.linear(self.weight.new_ones(1, *in_shape))[0].sqrt()
        norms: Tensor = torch.linalg.vector_norm(self.weight.flatten(1), ord=q, dim=1)
        return norms[:, None, None]


@final
@dataclass(frozen=True, eq=False)
class ConvTranspose2d(_Kernel):
    """The transpose of a `Conv2d` with the same weight (in, out / groups, kh, kw), and a bias (out,).

    extra: rows and columns at the bottom and right that the convolution would not have reached.
    """

    extra: tuple[int, int] = (0, 0)

    def linear(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(
            x, self.weight, None, self.stride, self.padding, self.extra, self.groups, self.dilation
        )

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return F.conv2d(rows, self.weight, None, self.stride, self.padding, self.dilation, self.groups)


@final
@dataclass(frozen=True, eq=False)
class AvgPool2d(LinearOp):
    """Mean over windows; padded zeros count, as they do by default in torch."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def linear(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return self.as_convolution(shape[0], rows.dtype, rows.device).adjoint(rows, shape)

    def as_convolution(self, channels: int, dtype: torch.dtype, device: torch.device | None = None) -> Conv2d:
        """The same map, every channel for itself."""
        weight = torch.full((channels, 1, *self.kernel), 1.0 / self.terms, dtype=dtype, device=device)
        return Conv2d(weight, None, self.stride, self.padding, groups=channels)

    def magnitude(self) -> AvgPool2d:
        return self

    @property
    def terms(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def rounded(self) -> int:
        return 1  # of 1 / (kh kw)
