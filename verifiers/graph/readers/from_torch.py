"""A graph from a torch module, by `torch.export`: whatever Python the module runs, what is left are tensor operations.

Operations that do not touch the input (sizes, constants, arithmetic of weights) are evaluated as torch does; the
others become nodes through `aten`. The graph holds the module's live parameters, so that gradients of bounds reach
them; `verifiers.graph.rewriting.simplify` detaches and folds.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from sokbench.core.errors import Unsupported, first_line

from ..graph import Graph
from .aten import HANDLERS, IDENTITIES, SEEDED_BY_DROPOUT
from .build import Builder, Value
from .moved import ARRANGEMENTS, Moved, apply, rearranged

_BATCH = 7  # of the example: shapes that mention it show which dimension the batch is


_TORCH_ERRORS = (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException)


class _UnknownOperation(Unsupported):
    """An operation without a handler, which torch may be able to write in terms of others."""


class _Unknown:
    """A result that is not a tensor of the graph, such as the indices of a maximum."""


def trace(module: Module, input_shape: tuple[int, ...]) -> Graph:
    """The graph of `module` (in eval mode) on inputs (B, *input_shape), with its own parameters, not copies. What the
    module computes from parameters alone is computed once, now.

    Raises `Unsupported` for an operation outside `aten.HANDLERS`, naming it and where it stands, and for a module that
    `torch.export` cannot trace (such as one whose control flow depends on the values of the input).
    """
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    example = torch.zeros(_BATCH, *input_shape, dtype=first.dtype, device=first.device)
    program = _exported(module, example)
    try:
        return _convert(program, module, tuple(input_shape), first)
    except _UnknownOperation as unknown:
        try:
            return _convert(program.run_decompositions(_decompositions()), module, tuple(input_shape), first)
        except (Unsupported, *_TORCH_ERRORS) as error:
            rest = "" if str(error) == str(unknown) else f"; in terms of others: {first_line(error)}"
            raise Unsupported(f"{unknown}{rest}") from None


def _exported(module: Module, example: Tensor) -> Any:
    modes = [(part, part.training) for part in module.modules()]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one operation for all of an encoder layer
        program = torch.export.export(module.eval(), (example,), strict=False)
        if any(_in_place(node) for node in program.graph.nodes):
            # a tensor that is changed in place may be read again under another name; this removes all such changes
            program = program.run_decompositions({})
    except _TORCH_ERRORS as error:
        reason = str(error).strip().partition("\n")[0]
        raise Unsupported(f"torch.export cannot trace {type(module).__name__}: {reason}") from None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for part, mode in modes:
            part.training = mode
    return program


def _decompositions() -> Any:
    """What torch knows to write in terms of other operations, but for what is known here."""
    table: Any = torch.export.default_decompositions()
    for operation in list(table.keys()):
        if str(operation).split(".")[1] in HANDLERS.keys() | ARRANGEMENTS | IDENTITIES:
            table.pop(operation)
    return table


def _in_place(node: Any) -> bool:
    return node.op == "call_function" and _name(node).endswith("_") and _name(node) != "detach_"


def _name(node: Any) -> str:
    """The operation without namespace and overload: conv2d for aten.conv2d.default."""
    return str(getattr(node.target, "overloadpacket", node.target)).rpartition(".")[2]


def _convert(program: Any, module: Module, input_shape: tuple[int, ...], like: Tensor) -> Graph:
    builder = Builder(input_shape, like.dtype, _BATCH, like.device)
    known = _held_tensors(program, module)
    values: dict[Any, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = known.get(node.name, Value(0))
        elif node.op == "output":
            results = torch.fx.node.map_arg(node.args[0], values.__getitem__)
            if len(results) != 1 or not isinstance(results[0], Value):
                mixed = ", with the batch as its first dimension" if isinstance(results[0], Moved) else ""
                raise Unsupported(f"{type(module).__name__} must return one tensor that depends on its input{mixed}")
            return builder.build(results[0])
        else:
            builder.where = _where(node)
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = _evaluate(builder, node, args, kwargs)
    raise Unsupported(f"{type(module).__name__} returns nothing")


def _held_tensors(program: Any, module: Module) -> dict[str, Tensor]:
    signature = program.graph_signature
    held: dict[str, Tensor] = {k: module.get_parameter(v) for k, v in signature.inputs_to_parameters.items()}
    for name, source in signature.inputs_to_buffers.items():
        # buffers that are not saved with the module are constants of the program
        held[name] = program.constants[source] if source in program.constants else module.get_buffer(source)
    return held | {k: program.constants[v] for k, v in signature.inputs_to_lifted_tensor_constants.items()}


def _bound(node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """All arguments of the operation's schema in its order, defaults included."""
    schema = getattr(node.target, "_schema", None)
    rest = schema.arguments[len(args) :] if schema else ()
    return [*args, *(kwargs.get(argument.name, argument.default_value) for argument in rest)]


def _evaluate(builder: Builder, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, bound = _name(node), _bound(node, args, kwargs)
    place = f"{name!r} at {builder.where}"
    kinds = {type(leaf) for leaf in torch.utils._pytree.tree_leaves(bound)} & {Value, Moved, _Unknown}
    idle = name in IDENTITIES or (name.endswith("dropout") and bound[2] is False)
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if random and not idle and not (kinds and name in SEEDED_BY_DROPOUT):
        raise Unsupported(f"the operation {place} is random")
    if not kinds:
        return node.target(*args, **kwargs)
    if node.target is operator.getitem:
        return args[0][args[1]] if args[1] < len(args[0]) else _Unknown()
    if _Unknown in kinds:
        raise Unsupported(f"the operation {place} needs a result that is not known, such as the indices of a maximum")
    if idle or _is_float_cast(name, bound):
        return bound[0]
    if name in ARRANGEMENTS:
        return rearranged(builder, node.target, args, kwargs)
    handler = HANDLERS.get(f"{name}.{node.target._overloadname}") or HANDLERS.get(name)
    if handler is None:
        raise _UnknownOperation(f"the operation {place} is not known")
    if Moved not in kinds:
        return handler(builder, *bound)
    return apply(builder, name, handler, bound)


def _where(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = [str(entry[0]) for entry in stack.values()]
    return f"{path[-1]}.{node.name}" if path and path[-1] else str(node.name)


def _is_float_cast(name: str, args: list[Any]) -> bool:
    return name in ("to", "_to_copy") and all(t.is_floating_point for t in args[1:] if isinstance(t, torch.dtype))
