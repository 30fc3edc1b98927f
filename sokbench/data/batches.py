"""CIFAR's "python version" files are pickles. They are read here without ever running what a pickle asks for.

Every global that a CIFAR batch names is answered by a stand-in of this module, which accepts nothing but arrays of
unsigned bytes; any other global, and any opcode such a file does not use, is refused. So a stranger's file can at worst
be rejected.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvalidInput

_LARGEST = 64 << 20  # a batch of 10,000 images has 31 MB
# what the unpickler, and the code after it, raise for bytes that are no batch
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ArithmeticError, LookupError),
    *(TypeError, ValueError, AttributeError, MemoryError, RecursionError),
)


def read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, 3, 32, 32) and labels (N,) of one batch file. Raises `InvalidInput` for anything else."""
    if path.stat().st_size > _LARGEST:
        raise InvalidInput(f"{path} is too large for a CIFAR-10 batch")
    try:
        with path.open("rb") as stream:
            content = _Unpickler(stream, encoding="bytes").load()
        pixels = content[b"data"].array.reshape(-1, 3, 32, 32)
        labels = np.array(content[b"labels"], dtype=np.int64)
    except _BROKEN as error:
        raise InvalidInput(f"{path} is not a CIFAR-10 batch of the python version ({error})") from None
    if labels.shape != pixels.shape[:1]:
        raise InvalidInput(f"{path} has {len(pixels)} images and {labels.size} labels")
    return pixels, labels


@final
class _ArrayStandIn:
    """Takes the place of `numpy.ndarray` while unpickling."""

    array: NDArray[np.uint8]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran_order, raw = state
        if not isinstance(dtype, _DtypeStandIn) or fortran_order or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array that is not of unsigned bytes in C order")
        self.array = np.frombuffer(raw, np.uint8).reshape(tuple(int(size) for size in shape))


@final
class _DtypeStandIn:
    """Takes the place of `numpy.dtype`; only unsigned bytes are accepted."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"an array of {code!r} where unsigned bytes are expected")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment say nothing about single bytes."""


def _reconstruct(*_: object) -> _ArrayStandIn:
    return _ArrayStandIn()


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayStandIn,
    ("numpy", "dtype"): _DtypeStandIn,
}


# what Python 2 wrote: containers, short numbers, byte strings, and the building of arrays. Later opcodes reserve
# memory by numbers in the file, and none is needed
_OPCODES = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.NONE),
    *(pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINSTRING, pickle.SHORT_BINSTRING),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
)


@final
class _Unpickler(pickle._Unpickler):
    """The unpickler written in Python, whose table of opcodes can be cut down."""

    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in _OPCODES}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no CIFAR batch needs")
        return _STAND_INS[module_name, global_name]
