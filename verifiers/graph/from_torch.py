"""A graph from a torch module, by `torch.export`: whatever Python the module runs, what is left are tensor operations.

Operations that do not touch the input (sizes, constants, arithmetic of weights) are evaluated as torch does; the
others become nodes through `_HANDLERS`, one function per operation. The graph holds the module's live parameters, so
that gradients of bounds reach them; `verifiers.graph.simplify` detaches and folds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from sokbench.core.errors import Unsupported

from .build import Builder, Value, pair
from .convolution import AvgPool2d, Conv2d
from .elementwise import Relu
from .graph import Graph
from .linear import Linear
from .ops import BatchNorm

_BATCH = 3  # of the example: shapes that mention it show which dimension the batch is


Handler = Callable[[Builder, str, list[Any]], Value]


def trace(module: Module, input_shape: tuple[int, ...]) -> Graph:
    """The graph of `module` (in eval mode) on inputs (B, *input_shape), with its own parameters, not copies.

    Raises `Unsupported` for an operation outside `_HANDLERS`, naming it and where it stands, and for a module that
    `torch.export` cannot trace (such as one whose control flow depends on the values of the input).
    """
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    example = torch.zeros(_BATCH, *input_shape, dtype=first.dtype, device=first.device)
    modes = [(part, part.training) for part in module.modules()]
    try:
        program = torch.export.export(module.eval(), (example,), strict=False)
        if any(_in_place(node) for node in program.graph.nodes):
            # a tensor that is changed in place may be read again under another name; this removes all such changes
            program = program.run_decompositions({})
    except (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise Unsupported(f"torch.export cannot trace {type(module).__name__}: {reason}") from None
    finally:
        for part, mode in modes:
            part.training = mode
    return _convert(program, module, tuple(input_shape), first.dtype)


def _in_place(node: Any) -> bool:
    return node.op == "call_function" and _name(node).endswith("_")


def _name(node: Any) -> str:
    """The operation without namespace and overload: conv2d for aten.conv2d.default."""
    return str(getattr(node.target, "overloadpacket", node.target)).rpartition(".")[2]


def _convert(program: Any, module: Module, input_shape: tuple[int, ...], dtype: torch.dtype) -> Graph:
    builder = Builder(input_shape, dtype)
    known = _held_tensors(program, module)
    values: dict[Any, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = known.get(node.name, Value(0))
        elif node.op == "output":
            results = torch.fx.node.map_arg(node.args[0], values.__getitem__)
            if len(results) != 1 or not isinstance(results[0], Value):
                raise Unsupported(f"{type(module).__name__} must return one tensor that depends on its input")
            return builder.build(results[0])
        else:
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = _evaluate(builder, node, list(args), dict(kwargs))
    raise Unsupported(f"{type(module).__name__} returns nothing")


def _held_tensors(program: Any, module: Module) -> dict[str, Tensor]:
    signature = program.graph_signature
    held: dict[str, Tensor] = {k: module.get_parameter(v) for k, v in signature.inputs_to_parameters.items()}
    for name, source in signature.inputs_to_buffers.items():
        # buffers that are not saved with the module are constants of the program
        held[name] = program.constants[source] if source in program.constants else module.get_buffer(source)
    return held | {k: program.constants[v] for k, v in signature.inputs_to_lifted_tensor_constants.items()}


def _evaluate(builder: Builder, node: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    name, where = _name(node), _where(node)
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and name != "dropout":
        raise Unsupported(f"the operation {name!r} at {where} is random")
    if not any(isinstance(leaf, Value) for leaf in torch.utils._pytree.tree_leaves((args, kwargs))):
        return node.target(*args, **kwargs)
    if name in _IDENTITIES or (name == "dropout" and args[2] is False):
        return args[0]
    if node.target is operator.getitem and args[1] == 0:  # the first of several results
        return args[0]
    if name not in _HANDLERS:
        raise Unsupported(f"the operation {name!r} at {where} is not known")
    if kwargs:
        raise Unsupported(f"the operation {name!r} at {where} with {', '.join(kwargs)}")
    return _HANDLERS[name](builder, where, args)


def _where(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = [str(entry[0]) for entry in stack.values()]
    return f"{path[-1]}.{node.name}" if path and path[-1] else str(node.name)


def _linear(builder: Builder, where: str, args: list[Any]) -> Value:
    x, weight, bias = _padded(args, 3)
    return builder.add(Linear(builder.constant(weight, where), bias), where, x)


def _matmul(builder: Builder, where: str, args: list[Any]) -> Value:
    x, weight = args
    if isinstance(weight, Value) or weight.dim() != 2:
        raise Unsupported(f"matmul at {where!r} is supported as input @ constant matrix only")
    return builder.add(Linear(weight.T), where, x)


def _conv2d(builder: Builder, where: str, args: list[Any]) -> Value:
    x, weight, bias, stride, padding, dilation, groups = _padded(args, 7, None, (1, 1), (0, 0), (1, 1), 1)
    if isinstance(padding, str):
        raise Unsupported(f"conv2d at {where!r}: padding={padding!r}; give it as numbers")
    weight = builder.constant(weight, where)
    return builder.add(Conv2d(weight, bias, pair(stride), pair(padding), pair(dilation), groups), where, x)


def _avg_pool2d(builder: Builder, where: str, args: list[Any]) -> Value:
    x, kernel, stride, padding, ceil, count_padding, divisor = _padded(args, 7, (), (0, 0), False, True, None)
    if ceil or divisor is not None or (not count_padding and any(pair(padding))):
        raise Unsupported(f"avg_pool2d at {where!r}: ceil_mode, count_include_pad=False and divisors are not supported")
    return builder.add(AvgPool2d(pair(kernel), pair(stride or kernel), pair(padding)), where, x)


def _adaptive_avg_pool2d(builder: Builder, where: str, args: list[Any]) -> Value:
    x, size = args
    (height, width), (rows, columns) = builder.shape(x)[-2:], pair(size)
    if height % rows or width % columns:
        raise Unsupported(f"adaptive_avg_pool2d at {where!r}: windows of unequal size")
    kernel = (height // rows, width // columns)
    return builder.add(AvgPool2d(kernel, kernel), where, x)


def _batch_norm(builder: Builder, where: str, args: list[Any]) -> Value:
    x, weight, bias, mean, variance, training, _, eps = _padded(args, 9)[:8]
    if training or mean is None or variance is None:
        raise Unsupported(f"batch_norm at {where!r} uses the statistics of the batch")
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    return builder.add(BatchNorm(weight, bias, mean, variance, float(eps)), where, x)


def _frozen_batch_norm(builder: Builder, where: str, args: list[Any]) -> Value:
    x, weight, bias, mean, variance, momentum, eps = args
    return _batch_norm(builder, where, [x, weight, bias, mean, variance, False, momentum, eps, False])


def _flatten(builder: Builder, where: str, args: list[Any]) -> Value:
    x, start, end = _padded(args, 3, 0, -1)
    sizes = torch.empty(_BATCH, *builder.shape(x), device="meta").flatten(start, end).shape
    return builder.reshape(x, sizes, _BATCH, where)


def _padded(args: list[Any], count: int, *defaults: Any) -> list[Any]:
    """`args` extended to `count` by the last of `defaults` (None where there are none)."""
    missing = count - len(args)
    tail = [*[None] * (missing - len(defaults)), *defaults]
    return [*args, *tail[len(tail) - missing :]]


_IDENTITIES = {"alias", "clone", "contiguous", "detach"}

_HANDLERS: dict[str, Handler] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "conv2d": _conv2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _frozen_batch_norm,
    "flatten": _flatten,
    "relu": lambda builder, where, args: builder.add(Relu(), where, *args),
    "view": lambda builder, where, args: builder.reshape(args[0], args[1], _BATCH, where),
    "reshape": lambda builder, where, args: builder.reshape(args[0], args[1], _BATCH, where),
    "permute": lambda builder, where, args: builder.permute(args[0], args[1], where),
    "add": lambda builder, where, args: builder.sum(args[0], args[1], where),
    "sub": lambda builder, where, args: builder.difference(args[0], args[1], where),
    "mul": lambda builder, where, args: builder.product(args[0], args[1], where),
    "div": lambda builder, where, args: builder.quotient(args[0], args[1], where),
    "neg": lambda builder, where, args: builder.scale(args[0], -1.0, 0.0, where),
}
