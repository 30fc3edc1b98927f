"""Batches cover the data once per epoch; augmentation only moves and mirrors."""

from __future__ import annotations

import torch

from models.training.batches import augment, batches, epoch_generator
from models.training.recipe import Augmentation


def test_every_image_once_with_its_label() -> None:
    images = torch.arange(10.0).view(10, 1, 1, 1)
    got = list(batches(images, torch.arange(10), 4, None, epoch_generator(0, 0)))
    assert [len(x) for x, _ in got] == [4, 4, 2]
    order = torch.cat([labels for _, labels in got])
    assert sorted(order.tolist()) == list(range(10))
    assert torch.equal(torch.cat([x for x, _ in got]).flatten(), order.float())


def test_epochs_differ_and_repeat() -> None:
    orders = [
        torch.cat([y for _, y in batches(torch.zeros(20, 1, 1, 1), torch.arange(20), 7, None, epoch_generator(5, n))])
        for n in (0, 1, 0)
    ]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_augmentation_shifts_within_the_padding() -> None:
    image = torch.arange(1.0, 13.0).view(1, 3, 4)
    copies = augment(image.expand(400, 1, 3, 4), Augmentation(pad=1, flip=False), epoch_generator(0, 0))
    padded = torch.nn.functional.pad(image[None], (1, 1, 1, 1))[0]
    windows = {
        tuple(padded[:, top : top + 3, left : left + 4].flatten().tolist()) for top in range(3) for left in range(3)
    }
    assert {tuple(copy.flatten().tolist()) for copy in copies} == windows


def test_augmentation_flips_all_channels_alike() -> None:
    image = torch.arange(8.0).view(2, 1, 4)
    copies = augment(image.expand(100, 2, 1, 4), Augmentation(pad=0, flip=True), epoch_generator(0, 0))
    seen = {tuple(copy.flatten().tolist()) for copy in copies}
    assert seen == {tuple(image.flatten().tolist()), tuple(image.flip(2).flatten().tolist())}
