"""One way to name a network: a zoo name, an ONNX file, an importable torch module, or the module itself."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import InvalidInput, UnknownName
from .core.network import Network, network_from_module
from .core.registry import component

if TYPE_CHECKING:
    from torch.nn import Module


def load_network(source: str | Path | Module, input_shape: tuple[int, ...] | None = None) -> Network:
    """Load a network for verification, in eval mode.

    source: a zoo name such as "mnist5k/cnn_a/cadv"; a path ending in .onnx; "package.module:name" of a torch module
        or of a function without arguments that returns one; or a `torch.nn.Module`.
    input_shape: shape of one input, without the batch dimension; needed for torch modules only.
    Raises `InvalidInput` for a file that is missing or broken, NaN or infinity in the weights, outputs that are not
    (B, classes), or a name nothing answers to.
    """
    if not isinstance(source, (str, Path)):
        return _from_module(source, type(source).__name__, input_shape)
    name = str(source)
    if name.endswith((".onnx", ".onnx.gz")):
        return component("verifiers.graph.readers.onnx_network").load_onnx(Path(name))  # type: ignore[no-any-return]
    if ":" in name:
        return _from_module(_import_module(name), name, input_shape)
    return component("models.zoo").load(name)  # type: ignore[no-any-return]


def network_sha256(source: str) -> str:
    """What identifies the network behind a name, found without loading torch: card, file or source file hash."""
    if source.endswith((".onnx", ".onnx.gz")):
        return hashlib.sha256(_existing(Path(source)).read_bytes()).hexdigest()
    if ":" in source:
        spec = importlib.util.find_spec(source.partition(":")[0])
        if spec is None or spec.origin is None:
            raise InvalidInput(f"no module {source.partition(':')[0]!r} for the network {source!r}")
        return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    return component("models.cards").card(source).sha256  # type: ignore[no-any-return]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    return path


def _import_module(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidInput(f"cannot import {module_name!r} for the network {name!r}: {error}") from None
    if not hasattr(module, attribute):
        raise UnknownName(f"network in {module_name}", attribute, [n for n in vars(module) if not n.startswith("_")])
    found = getattr(module, attribute)
    return found() if callable(found) and not hasattr(found, "state_dict") else found


def _from_module(module: Any, name: str, input_shape: tuple[int, ...] | None) -> Network:
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(f"{name} is a {type(module).__name__}, not a torch.nn.Module")
    if input_shape is None:
        raise InvalidInput(f"give input_shape=(...) for the torch module {name}; a module does not know it")
    return network_from_module(module, name, tuple(input_shape))
