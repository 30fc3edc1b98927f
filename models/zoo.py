"""The model zoo: shipped networks by name, such as `mnist5k/cnn_a/cadv`, checked against their cards at load."""

from __future__ import annotations

from pathlib import Path

from sokbench.core.errors import InvalidInput
from sokbench.core.network import Network, network_from_module

from . import cards


def names(folder: Path = cards.WEIGHTS) -> list[str]:
    """The models that can be loaded, sorted."""
    return cards.names(folder)


def load(name: str, folder: Path = cards.WEIGHTS) -> Network:
    """The network of a zoo name, in eval mode, without gradients of its weights.

    Raises `UnknownName`, and `InvalidInput` in one line for a card or weights that are missing, truncated, altered,
    of the wrong shapes, or not finite.
    """
    from safetensors.torch import load as decode

    from .architectures import build

    card = cards.card(name, folder)
    content = cards.checked_weights(name, folder)
    normalization = card.recipe.normalization
    module = build(
        card.recipe.architecture,
        card.input_shape,
        card.num_classes,
        None if normalization is None else (normalization.mean, normalization.std),
    )
    try:
        module.load_state_dict(decode(content))
    except Exception as error:  # safetensors and torch raise types of their own, without a common base
        reason = " ".join(str(error).split())
        raise InvalidInput(
            f"the weights of {name} do not fit {card.recipe.architecture} ({reason}); rebuild them: "
            f"{cards.rebuild(name)}"
        ) from None
    module.requires_grad_(False)
    return network_from_module(module, name, card.input_shape, card.sha256)
