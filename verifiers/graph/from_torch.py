"""A graph from a torch module, by `torch.export`: whatever Python the module runs, what is left are tensor operations.

Operations that do not touch the input (sizes, constants, arithmetic of weights) are evaluated as torch does; the
others become nodes through `_HANDLERS`, one function per operation. The graph holds the module's live parameters, so
that gradients of bounds reach them; `verifiers.graph.simplify` detaches and folds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from sokbench.core.errors import Unsupported

from .graph import Builder, Graph
from .ops import Add, AvgPool2d, BatchNorm, Conv2d, Linear, Permute, Relu, Reshape, Scale

_BATCH = 3  # of the example: shapes that mention it show which dimension the batch is


@dataclass(frozen=True)
class _Value:
    """A tensor that depends on the input: node `index` of the graph being built."""

    index: int


Handler = Callable[[Builder, str, list[Any]], int]


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
            values[node] = known.get(node.name, _Value(0))
        elif node.op == "output":
            results = torch.fx.node.map_arg(node.args[0], values.__getitem__)
            if len(results) != 1 or not isinstance(results[0], _Value):
                raise Unsupported(f"{type(module).__name__} must return one tensor that depends on its input")
            return builder.build(results[0].index)
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
    if not any(isinstance(leaf, _Value) for leaf in torch.utils._pytree.tree_leaves((args, kwargs))):
        return node.target(*args, **kwargs)
    if name in _IDENTITIES or (name == "dropout" and args[2] is False):
        return args[0]
    if node.target is operator.getitem and args[1] == 0:  # the first of several results
        return args[0]
    if name not in _HANDLERS:
        raise Unsupported(f"the operation {name!r} at {where} is not known")
    if kwargs:
        raise Unsupported(f"the operation {name!r} at {where} with {', '.join(kwargs)}")
    return _Value(_HANDLERS[name](builder, where, args))


def _where(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = [str(entry[0]) for entry in stack.values()]
    return f"{path[-1]}.{node.name}" if path and path[-1] else str(node.name)


def _linear(builder: Builder, where: str, args: list[Any]) -> int:
    x, weight, bias = _padded(args, 3)
    _need_constants(where, weight, bias)
    return builder.add(Linear(weight, bias), (x.index,), where)


def _matmul(builder: Builder, where: str, args: list[Any]) -> int:
    x, weight = args
    _need_constants(where, weight)
    if not isinstance(x, _Value) or weight.dim() != 2:
        raise Unsupported(f"matmul at {where} is supported as input @ constant matrix only")
    return builder.add(Linear(weight.T), (x.index,), where)


def _conv2d(builder: Builder, where: str, args: list[Any]) -> int:
    x, weight, bias, stride, padding, dilation, groups = _padded(args, 7, None, (1, 1), (0, 0), (1, 1), 1)
    _need_constants(where, weight, bias)
    if isinstance(padding, str):
        raise Unsupported(f"conv2d at {where}: padding={padding!r}; give it as numbers")
    op = Conv2d(weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)
    return builder.add(op, (x.index,), where)


def _avg_pool2d(builder: Builder, where: str, args: list[Any]) -> int:
    x, kernel, stride, padding, ceil, count_padding, divisor = _padded(args, 7, (), (0, 0), False, True, None)
    if ceil or divisor is not None or (not count_padding and any(_pair(padding))):
        raise Unsupported(f"avg_pool2d at {where}: ceil_mode, count_include_pad=False and divisors are not supported")
    return builder.add(AvgPool2d(_pair(kernel), _pair(stride or kernel), _pair(padding)), (x.index,), where)


def _adaptive_avg_pool2d(builder: Builder, where: str, args: list[Any]) -> int:
    x, size = args
    height, width = builder.shape(x.index)[-2:]
    rows, columns = _pair(size)
    if height % rows or width % columns:
        raise Unsupported(f"adaptive_avg_pool2d at {where}: windows of unequal size")
    kernel = (height // rows, width // columns)
    return builder.add(AvgPool2d(kernel, kernel), (x.index,), where)


def _batch_norm(builder: Builder, where: str, args: list[Any]) -> int:
    x, weight, bias, mean, variance, training, _, eps = _padded(args, 9)[:8]
    _need_constants(where, weight, bias, mean, variance)
    if training or mean is None or variance is None:
        raise Unsupported(f"batch_norm at {where} uses the statistics of the batch")
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    return builder.add(BatchNorm(weight, bias, mean, variance, float(eps)), (x.index,), where)


def _frozen_batch_norm(builder: Builder, where: str, args: list[Any]) -> int:
    x, weight, bias, mean, variance, momentum, eps = args
    return _batch_norm(builder, where, [x, weight, bias, mean, variance, False, momentum, eps, False])


def _relu(builder: Builder, where: str, args: list[Any]) -> int:
    return builder.add(Relu(), (args[0].index,), where)


def _reshape(builder: Builder, where: str, args: list[Any]) -> int:
    x, sizes = args
    if len(sizes) < 2 or sizes[0] not in (_BATCH, -1):
        raise Unsupported(f"reshape at {where} to {tuple(sizes)} mixes the batch dimension with others")
    return builder.add(Reshape(_inferred(builder.shape(x.index), sizes[1:])), (x.index,), where)


def _inferred(shape: tuple[int, ...], sizes: list[int]) -> tuple[int, ...]:
    return tuple(torch.empty(shape, device="meta").reshape(sizes).shape)


def _flatten(builder: Builder, where: str, args: list[Any]) -> int:
    x, start, end = _padded(args, 3, 0, -1)
    shape = builder.shape(x.index)
    if start % (len(shape) + 1) == 0:
        raise Unsupported(f"flatten at {where} mixes the batch dimension with others")
    flat = torch.empty(1, *shape, device="meta").flatten(start, end)
    return builder.add(Reshape(tuple(flat.shape[1:])), (x.index,), where)


def _add(builder: Builder, where: str, args: list[Any]) -> int:
    a, b = args
    if isinstance(a, _Value) and isinstance(b, _Value):
        if builder.shape(a.index) != builder.shape(b.index):
            raise Unsupported(f"add at {where} of different shapes")
        return builder.add(Add(), (a.index, b.index), where)
    x, constant = (a, b) if isinstance(a, _Value) else (b, a)
    return _scale(builder, where, x, 1.0, constant)


def _sub(builder: Builder, where: str, args: list[Any]) -> int:
    a, b = args
    if not isinstance(b, _Value):
        return _scale(builder, where, a, 1.0, -torch.as_tensor(b))
    negative = _scale(builder, where, b, -1.0, 0.0)
    return _add(builder, where, [a, _Value(negative)])


def _mul(builder: Builder, where: str, args: list[Any]) -> int:
    a, b = args
    x, constant = (a, b) if isinstance(a, _Value) else (b, a)
    if isinstance(constant, _Value):
        raise Unsupported(f"the product of two variables at {where}")
    return _scale(builder, where, x, constant, 0.0)


def _div(builder: Builder, where: str, args: list[Any]) -> int:
    x, divisor = args
    if isinstance(divisor, _Value):
        raise Unsupported(f"division by a variable at {where}")
    inverse = 1.0 / torch.as_tensor(divisor, dtype=torch.float64)  # one rounding
    return _scale(builder, where, x, inverse, 0.0, roundings=1)


def _neg(builder: Builder, where: str, args: list[Any]) -> int:
    return _scale(builder, where, args[0], -1.0, 0.0)


def _scale(builder: Builder, where: str, x: _Value, scale: Any, shift: Any, roundings: int = 0) -> int:
    dimensions = len(builder.shape(x.index))
    scale, shift = (_without_batch(torch.as_tensor(v, dtype=torch.float64), dimensions, where) for v in (scale, shift))
    return builder.add(Scale(scale, shift, roundings), (x.index,), where)


def _without_batch(constant: Tensor, dimensions: int, where: str) -> Tensor:
    if constant.dim() <= dimensions:
        return constant
    if constant.dim() == dimensions + 1 and bool((constant == constant[:1]).all()):
        return constant[0]
    raise Unsupported(f"the constant of shape {tuple(constant.shape)} at {where} differs between inputs of a batch")


def _permute(builder: Builder, where: str, args: list[Any]) -> int:
    x, order = args
    dimensions = len(builder.shape(x.index)) + 1
    axes = [axis % dimensions for axis in order]
    if axes[0] != 0:
        raise Unsupported(f"permute at {where} moves the batch dimension")
    return builder.add(Permute(tuple(axis - 1 for axis in axes[1:])), (x.index,), where)


def _need_constants(where: str, *values: Any) -> None:
    if any(isinstance(value, _Value) for value in values):
        raise Unsupported(f"the weights at {where} depend on the input")


def _padded(args: list[Any], count: int, *defaults: Any) -> list[Any]:
    """`args` extended to `count` by the last of `defaults` (None where there are none)."""
    missing = count - len(args)
    tail = [*[None] * (missing - len(defaults)), *defaults]
    return [*args, *tail[len(tail) - missing :]]


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[-1]))


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
    "relu": _relu,
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _flatten,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "permute": _permute,
}
