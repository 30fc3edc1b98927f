"""Batches of one epoch: order and augmentation drawn from a generator, so that an epoch can be repeated exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from .recipe import Augmentation


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """All random choices of one epoch come from here; a resumed run needs no other state."""
    digest = hashlib.blake2b(repr((seed, "epoch", epoch)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def batches(
    images: Tensor, labels: Tensor, size: int, augmentation: Augmentation | None, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images (N, C, H, W) in random order in batches of `size`, the last one smaller."""
    for chosen in torch.split(torch.randperm(len(images), generator=generator), size):
        batch = images[chosen]
        if augmentation is not None:
            batch = augment(batch, augmentation, generator)
        yield batch, labels[chosen]


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Random crops of the padded images, each image with its own offset, mirrored with probability 1/2 if asked."""
    count, channels, height, width = images.shape
    margin = augmentation.pad
    top, left = torch.randint(0, 2 * margin + 1, (2, count, 1, 1), generator=generator)
    rows = top + torch.arange(height).view(1, -1, 1)
    columns = left + torch.arange(width).view(1, 1, -1)
    if augmentation.flip:
        mirrored = torch.rand(count, 1, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(2), columns)
    padded = pad(images, (margin,) * 4)
    index = torch.arange(count).view(-1, 1, 1, 1)
    return padded[index, torch.arange(channels).view(1, -1, 1, 1), rows[:, None], columns[:, None]]
