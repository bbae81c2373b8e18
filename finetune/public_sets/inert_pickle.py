"""Reads what a pickle says without unpickling it: its opcodes are followed, and nothing is imported or called.

A pickle is a program: ``pickle.loads`` runs whatever it names. Here plain values become what they are (numbers, text,
lists, dicts), and everything that a pickle would import, call or build becomes an inert :class:`Call` that says so.
Opcodes: Python's pickletools, whose ``genops`` disassembles and never executes.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandloom.errors import LabelError

MOST_BYTES = 2**20  # a sample's attributes take a few thousand
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_VALUES |= {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_VALUES |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"}
_ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_BUFFERS = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}  # protocol 5
_SCALARS = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}


@dataclass
class Call:
    """What a pickle would have imported, called or built: its module and name, its arguments, its state."""

    module: str
    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        at = max(i for i, value in enumerate(self.stack) if value is _MARK)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values


def read_inert(content: bytes, where: str) -> Any:
    """Return what a pickle holds, with everything that would have run as a :class:`Call`.

    Raises:
        LabelError: it is no pickle, too large, or uses what plain data has no need of.
    """
    if len(content) > MOST_BYTES:
        raise LabelError(f"{where} holds a pickle of {len(content)} bytes; expected some thousands: fetch it again.")
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return machine.stack.pop()
            _step(machine, opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise LabelError(f"{where} holds a pickle that cannot be read ({cause!r}); fetch it again.") from cause
    raise LabelError(f"{where} holds a pickle without an end; fetch it again.")


def _step(machine: _Machine, name: str, argument: Any) -> None:
    stack = machine.stack
    if name in ("PROTO", "FRAME"):
        return
    if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _VALUES:
        stack.append(argument)
    elif name == "MARK":
        stack.append(_MARK)
    elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
        machine.memo[len(machine.memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(machine.memo[int(argument)])
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
        _gather(machine, name)
    elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
        _fill(machine, name)
    else:
        _inert(machine, name, argument)


def _gather(machine: _Machine, name: str) -> None:
    values = machine.since_mark()
    made = {"TUPLE": tuple, "LIST": list, "FROZENSET": frozenset}
    machine.stack.append(dict(zip(values[::2], values[1::2], strict=True)) if name == "DICT" else made[name](values))


def _fill(machine: _Machine, name: str) -> None:
    if name == "APPEND":
        values = [machine.stack.pop()]
    elif name == "SETITEM":
        values = [machine.stack.pop(-2), machine.stack.pop()]
    else:
        values = machine.since_mark()
    target = machine.stack[-1]
    if name in ("SETITEM", "SETITEMS") and isinstance(target, dict):
        target.update(zip(values[::2], values[1::2], strict=True))
    elif name in ("APPEND", "APPENDS") and isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, Call):  # items of an object that is not made
        raise TypeError(f"{name} on {type(target).__name__}")


def _inert(machine: _Machine, name: str, argument: Any) -> None:
    """Note what would be imported, called or built."""
    stack = machine.stack
    if name == "GLOBAL":
        module, _, what = str(argument).partition(" ")
        stack.append(Call(module, what))
    elif name == "STACK_GLOBAL":
        what, module = stack.pop(), stack.pop()
        stack.append(Call(str(module), str(what)))
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, called = stack.pop(), stack.pop()
        stack.append(Call(called.module, called.name, tuple(arguments)))
    elif name == "NEWOBJ_EX":
        _, arguments, called = stack.pop(), stack.pop(), stack.pop()
        stack.append(Call(called.module, called.name, tuple(arguments)))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1].state = state
    elif name == "POP":
        stack.pop()
    else:
        raise ValueError(f"the opcode {name} is not for plain data")


def as_number(value: Any) -> int | None:
    """Return a whole number that a pickle holds, plain or as a scalar of numpy; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Call) and (value.module, value.name) in _SCALARS and len(value.arguments) == 2:
        try:
            numbers = _numbers(value.arguments[1], value.arguments[0])
        except ValueError:
            return None
        return int(numbers[0]) if numbers.size == 1 and numbers[0] == np.rint(numbers[0]) else None
    return None


def as_array(value: Any) -> np.ndarray | None:
    """Return the numbers of an array of numpy, or of a list, that a pickle holds; None for anything else.

    Raises:
        LabelError: what it says of its numbers does not fit them.
    """
    if isinstance(value, list | tuple) and all(as_number(item) is not None for item in value):
        return np.array([as_number(item) for item in value])
    if not isinstance(value, Call):
        return None
    try:
        if (value.module, value.name) in _BUFFERS:
            content, dtype, shape, order = value.arguments
            return _numbers(content, dtype).reshape(shape, order="F" if order == "F" else "C")
        if (value.module, value.name) in _ARRAYS and isinstance(value.state, tuple):
            _, shape, dtype, by_columns, content = value.state
            return _numbers(content, dtype).reshape(shape, order="F" if by_columns else "C")
    except (ValueError, TypeError, IndexError) as cause:
        raise LabelError(f"a pickled array does not fit its own shape ({cause}); fetch it again.") from cause
    return None


def _numbers(content: Any, dtype: Any) -> np.ndarray:
    kind = _dtype(dtype)
    return np.frombuffer(_bytes(content), kind)


def _dtype(value: Any) -> np.dtype[Any]:
    """Return a dtype of plain numbers.

    Raises:
        LabelError: it is another.
    """
    text = value.arguments[0] if isinstance(value, Call) and value.name == "dtype" and value.arguments else ""
    if not (isinstance(text, str) and text[:1] in tuple("iufb") and text[1:] in ("1", "2", "4", "8")):
        raise LabelError(f"a pickled array has the type {text!r}; expected numbers: fetch it again.")
    state = value.state if isinstance(value, Call) and isinstance(value.state, tuple) else (None, "<")
    order = ">" if len(state) > 1 and state[1] == ">" else "<"
    return np.dtype(text).newbyteorder(order) if np.dtype(text).itemsize > 1 else np.dtype(text)


def _bytes(value: Any) -> bytes:
    """Return bytes, also as earlier protocols store them: as text of Latin-1 that is to be encoded."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, Call) and (value.module, value.name) == ("_codecs", "encode"):
        return str(value.arguments[0]).encode("latin-1")
    raise LabelError(f"a pickled array holds {type(value).__name__}; expected bytes: fetch it again.")
