"""The tensors of a .pth or .pt file, without PyTorch, and without running what is in it.

`torch.save` writes a zip archive with the raw numbers of each tensor and a pickle that says what they
are; before PyTorch 1.6 it wrote the pickle and then the numbers, one after the other. A pickle is a program: it
may name any function and call it. The reader here knows six kinds of things that a state dict needs, an
ordered dictionary, a tensor, and storages, and refuses every other name. It is Python's own reader written in Python,
which does what this file lets it do: it has the instructions that such pickles are made of, gives no memory to a number
that a file claims, and takes nothing but text for the key of a dictionary (to find one key, the others are asked for
their hashes, and a few bytes can name a tuple of tuples that takes years).
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minigan.errors import DataError

DTYPES = {
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4",
}  # fmt: skip
MOST_AXES, LARGEST = 64, 2**63  # of NumPy's arrays, and of their sizes
OLD = (0x1950A86A20F9469CFC6C, 1001)  # the first two pickles of a file from before PyTorch 1.6

# The numbers of a storage by its key, of a dtype, so many.
Numbers: TypeAlias = Callable[[str, str, int], np.ndarray]


class Storage(NamedTuple):
    """What the pickle calls torch.FloatStorage and so on: a type of numbers."""

    kind: str


class Stored(NamedTuple):
    """The numbers of a storage. Windows are made into these alone: a window into a window could lead outside."""

    numbers: np.ndarray


class Rebuild(NamedTuple):
    """What the pickle calls torch._utils._rebuild_tensor_v2: a window into a storage, with strides.

    A tuple and not a function, so that nothing in a pickle can change it.
    """

    def __call__(self, storage: Any, offset: int, size: Any, stride: Any, *_: object) -> np.ndarray:
        """The view; `offset` and `stride` count numbers. Raises ValueError where it leaves the storage."""
        if not isinstance(storage, Stored) or len(size) != len(stride):
            raise ValueError("a tensor of no storage")
        if len(size) > MOST_AXES or not all(
            type(number) is int and 0 <= number < LARGEST for number in (offset, *size, *stride)
        ):
            raise ValueError("a tensor whose shape is no row of whole numbers")
        storage = storage.numbers
        end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
        if math.prod(size) > storage.size or (end > storage.size and 0 not in size):
            raise ValueError("a tensor larger than its numbers")
        strides = tuple(step * storage.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), strides, writeable=False)


class EmptyDict(NamedTuple):
    """What the pickle calls collections.OrderedDict, which it makes empty and fills."""

    def __call__(self) -> OrderedDict[str, Any]:
        return OrderedDict()


class Instructions(dict[int, Callable[..., None]]):
    """Those of a pickle that are known, by their bytes."""

    def __missing__(self, byte: int) -> Callable[..., None]:
        raise pickle.UnpicklingError(
            f"it holds the instruction {bytes([byte])!r}, which no state dict of numbers needs"
        )


def _known(names: str) -> Instructions:
    every: dict[int, Callable[..., None]] = pickle._Unpickler.dispatch
    return Instructions({code: every[code] for name in names.split() for code in getattr(pickle, name)})


class Reader(pickle._Unpickler):
    """An unpickler that knows only what a state dict is made of."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch = _known(
        "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE "
        "SHORT_BINSTRING BINSTRING EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT GLOBAL "
        "STACK_GLOBAL BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE FRAME"
    )

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(type(key) is str for key in items[::2]):
            raise pickle.UnpicklingError("it has a dictionary whose keys are no text")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _set_many(self) -> None:
        self._set_items(self.pop_mark())

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Rebuild | EmptyDict):
            raise pickle.UnpicklingError("it calls something")
        self.stack.append(function(*arguments))

    def _build(self) -> None:
        """The attributes of a dictionary (PyTorch's `_metadata`), which nobody needs."""
        del self.stack[-1]
        if type(self.stack[-1]) is not OrderedDict:
            raise pickle.UnpicklingError("it gives attributes to something")

    own = (("SETITEM", _set_item), ("SETITEMS", _set_many), ("REDUCE", _reduce), ("BUILD", _build))
    dispatch |= {getattr(pickle, name)[0]: instruction for name, instruction in own}

    def __init__(self, stream: io.BytesIO, numbers: Numbers) -> None:
        super().__init__(stream)
        self.numbers = numbers
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The three names that are allowed; anything else is refused before it is looked for."""
        if (module, name) == ("collections", "OrderedDict"):
            return EmptyDict()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Rebuild()
        if module == "torch" and name in DTYPES:
            return Storage(name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no state dict of numbers needs")

    def persistent_load(self, pid: Any) -> Stored:
        """The numbers of ``("storage", type, key, device, count)``, each read once.

        An old file's sixth entry, a window into another storage, has always been None in state dicts.
        """
        _, kind, key, _, count, *window = pid
        if not isinstance(kind, Storage) or not isinstance(key, str) or window not in ([], [None]):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if key not in self.storages:
            self.storages[key] = self.numbers(key, DTYPES[kind.kind], count)
        return Stored(self.storages[key])


def is_torch_file(content: bytes) -> bool:
    """Whether a file begins like one of torch.save, of today or of before PyTorch 1.6.

    A safetensors file begins with any length in eight bytes, and then "{".
    """
    return content[8:9] != b"{" and content[:2] in (b"PK", b"\x80\x02")


def read_state_dict(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The tensors by name. Raises DataError, in one line, for anything but a state dict of numbers."""
    try:
        loaded = _unpickle(content) if content[:2] == b"PK" else _unpickle_old(content)
    except Exception as err:  # a damaged pickle can fail in any way, and none may pass for another error
        text = " ".join(str(err).split())
        raise DataError(f"{path} is no state dict of PyTorch that can be read safely: {text}") from err
    if not isinstance(loaded, dict):
        raise DataError(f"{path} holds {type(loaded).__name__}, not a state dict: save model.state_dict()")
    tensors: dict[str, np.ndarray] = dict(dict.items(loaded))
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise DataError(f"{path}: its entry {name!r} is no tensor: save model.state_dict() alone")
    return tensors


def _unpickle(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = archive.infolist()
        if any(file.compress_type != zipfile.ZIP_STORED for file in files):  # PyTorch compresses nothing
            raise ValueError("its files are compressed")
        if sum(file.file_size for file in files) > len(content):
            raise ValueError("its files overlap")
        (folder,) = (name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl"))
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("it was written by a big-endian machine")

        def numbers(key: str, dtype: str, _: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}/data/{key}"), dtype)

        return Reader(io.BytesIO(archive.read(f"{folder}/data.pkl")), numbers).load()


def _unpickle_old(content: bytes) -> Any:
    """Five pickles: a mark, a version, facts about the machine, the state dict, the keys of its storages.

    Then come the storages in that order, each a count of eight bytes and its numbers. So tensors are windows into
    storages that are still empty, and these are filled afterwards.
    """
    left = len(content)

    def empty(_: str, dtype: str, count: int) -> np.ndarray:
        nonlocal left
        if type(count) is not int or not 0 <= count * np.dtype(dtype).itemsize <= left:
            raise ValueError("a storage larger than the file")
        left -= count * np.dtype(dtype).itemsize
        return np.zeros(count, dtype)

    stream = io.BytesIO(content)
    mark, version, machine = (Reader(stream, empty).load() for _ in range(3))
    if type(mark) is not int or type(version) is not int or (mark, version) != OLD:
        raise ValueError("it is none of PyTorch's")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it was written by a big-endian machine")
    reader = Reader(stream, empty)
    loaded, keys = reader.load(), Reader(stream, empty).load()
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(reader.storages):
        raise ValueError("it holds other storages than its tensors need")
    for storage in map(reader.storages.__getitem__, keys):
        if int.from_bytes(stream.read(8), "little") != storage.size:
            raise ValueError("a storage of another length than its tensors need")
        storage[:] = np.frombuffer(stream.read(storage.nbytes), storage.dtype, storage.size)
    return loaded
