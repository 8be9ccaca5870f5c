"""A step of a module, recorded as the torch functions that it calls, and played back without the Python around them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["CannotRecordError", "Recording"]

# What reads numbers out of a tensor, or has a shape that depends on them: the next step would have others.
LOOKING = {"item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "__contains__", "equal", "allclose",
           "is_nonzero", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount",
           "backward", "manual_seed"}  # fmt: skip
SAME = {"dropout", "contiguous", "to", "float"}  # often give back what they got, and are then left out


class CannotRecordError(TypeError):
    """A step looks at the numbers that it computes, so the next one may call other functions."""


class Recording(TorchFunctionMode):
    """While it is entered, every torch function that is called is taken down; `play` calls them again with other inputs.

    Whatever is no tensor stays as it was recorded, shapes among it: inputs must be as large as those that were recorded. Tensors
    that no recorded function made, such as weights, are looked at where they are.
    """

    def __init__(self, *inputs: Tensor):
        super().__init__()
        self._names = {id(tensor): f"input{n}" for n, tensor in enumerate(inputs)}
        self._alive: list[Any] = [*inputs]  # so that no other tensor gets the id of one of them
        self._count = len(inputs)
        self._lines: list[tuple[str, list[str]]] = []  # a call, and the tensors that it names
        self._scope: dict[str, Any] = {}  # functions and constants by their names
        self._numbers: Iterator[int] = itertools.count()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in LOOKING or _has_as_many_as_are_true(name, args):
            raise CannotRecordError(f"it calls {name}, whose result depends on what it reads")
        result = func(*args, **kwargs)
        made = isinstance(result, Tensor) or (isinstance(result, list | tuple) and any(isinstance(r, Tensor) for r in result))
        if not made and (result is not None or name == "__get__"):
            return result  # a shape, a type, a device
        if name in SAME and args and result is args[0]:
            return result
        self._note(func, args, kwargs, result)
        return result

    def finished(self, result: Tensor) -> Callable[..., Tensor]:
        """The function from inputs to what has become of `result`. The recording is of no use afterwards."""
        if id(result) not in self._names:
            raise CannotRecordError("its result was made outside of torch's functions")
        last = self._names[id(result)]
        kept, lines = {last}, []
        for call, named in reversed(self._lines):  # a tensor is let go after its last use, so that its memory is used again
            gone = [name for name in dict.fromkeys(named) if name not in kept]
            kept.update(gone)
            lines.append("    " + "; ".join([call, *(f"{name} = None" for name in gone)]))
        inputs = ", ".join(f"input{n}" for n in range(self._count))
        source = "\n".join([f"def play({inputs}):", *reversed(lines), f"    return {last}"])
        exec(source, self._scope)
        return self._scope.pop("play")  # which holds the scope: both are gone when nobody plays it any more

    def _note(self, func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        self._alive.append((args, kwargs, result))
        named: list[str] = []
        given = [self._written(arg, named) for arg in args] + [f"{key}={self._written(v, named)}" for key, v in kwargs.items()]
        call = f"{self._constant(func)}({', '.join(given)})"
        if isinstance(result, Tensor):
            call = f"{self._name(result, named)} = {call}"
        elif result is not None:
            call = f"{', '.join(self._name(part, named) for part in result)}{',' * (len(result) == 1)} = {call}"
        self._lines.append((call, named))

    def _name(self, made: Any, named: list[str]) -> str:
        if not isinstance(made, Tensor):
            return "_"
        name = self._names.setdefault(id(made), f"t{next(self._numbers)}")
        named.append(name)
        return name

    def _written(self, given: Any, named: list[str]) -> str:
        """An argument as the source has it."""
        if isinstance(given, Tensor) and id(given) in self._names:
            return self._name(given, named)
        if type(given) in (list, tuple) and any(self._holds(part) for part in given):
            inside = ", ".join(self._written(part, named) for part in given)
            return f"[{inside}]" if type(given) is list else f"({inside},)"
        if self._holds(given):
            raise CannotRecordError(f"it hands over tensors in a {type(given).__name__}")
        return repr(given) if type(given) in (int, bool, type(None)) else self._constant(given)

    def _holds(self, given: Any) -> bool:
        """It is, or has in it, a tensor that changes from step to step."""
        if isinstance(given, Tensor):
            return id(given) in self._names
        if isinstance(given, slice):
            given = (given.start, given.stop, given.step)
        if isinstance(given, dict):
            given = given.values()
        return isinstance(given, list | tuple | type({}.values())) and any(self._holds(part) for part in given)

    def _constant(self, value: Any) -> str:
        name = f"c{next(self._numbers)}"
        self._scope[name] = value
        return name


def _has_as_many_as_are_true(name: str, args: tuple) -> bool:
    """x[mask], where(mask), or repeat_interleave by a tensor: the numbers in it decide on the result's shape."""
    match name:
        case "where":
            return len(args) == 1
        case "repeat_interleave":
            return any(isinstance(part, Tensor) for part in args[1:]) or len(args) == 1
        case "__getitem__":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return any(isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) for part in index)
    return False
