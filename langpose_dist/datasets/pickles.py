"""Pickles and npz files of strangers, read so that nothing in them can run.

A pickle is a small program that may call anything it can name. Here it can name numpy's array makers and
plain containers, and even those are replaced by functions that check what they are given: numpy's own
``__setstate__`` trusts a dtype's flags and offsets, which would let a made-up file read and write memory.
"""

import io
import math
import mmap
import pickle
import re
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

from langpose_dist.data.sample import DataError

_DTYPE_NAME = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SUV]\d{1,9}|O\d?")

_LEFT_OUT = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
"""Operations that data files have no use for: foreign ids, registered codes, old-style classes."""


MAX_RATIO = 100
"""Bytes of a large array for each of its bytes in a packed file; motion has about 1 to 3."""


def load_pickle(path: Path) -> Any:
    """Content of a pickle file of Python 2 or 3; bytes strings of Python 2 become ``str`` by latin-1.

    Returns:
        Plain containers, strings, numbers and numpy arrays (not structured).

    Raises:
        DataError: If the file does not exist, is damaged or names anything else; nothing was executed.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:  # which cannot be mapped
                raise DataError(f"{path} is empty; copy it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _unpickle(content, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def load_npz(path: Path, *, free_bytes: int = 2**24) -> Mapping[str, Any]:
    """Arrays of an npz file by name, each read when it is asked for; object arrays as by ``load_pickle``.

    Args:
        path: The file.
        free_bytes: Size up to which an array may be packed to nothing.

    Raises:
        DataError: If the file does not exist or is no npz file; later, if an array is damaged or holds more
            than plain containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise DataError(f"{path} holds two arrays {twice[0]!r}; make it again")
            return _Npz(path, names, free_bytes)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise DataError(f"{path} is no npz file, or is damaged; copy it again") from None


class _Npz(Mapping[str, Any]):
    def __init__(self, path: Path, names: list[str], free_bytes: int) -> None:
        self._path = path
        self._names = names
        self._free_bytes = free_bytes

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        try:
            with zipfile.ZipFile(self._path) as archive:
                info = archive.getinfo(f"{name}.npy")
                if info.file_size > self._free_bytes + MAX_RATIO * info.compress_size:
                    raise DataError(
                        f"{self._path}: array {name} unpacks to {info.file_size} bytes from "
                        f"{info.compress_size}: no data are so; do not use it unless its source is certain"
                    )
                with archive.open(info) as member:
                    return _read_npy(member, info.file_size, f"{self._path}: array {name}")
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from None
        except Exception:  # zipfile, zlib and numpy's header parser raise several kinds on damaged files
            raise DataError(f"{self._path}: array {name} is damaged; copy the file again") from None


def _read_npy(member: Any, num_bytes: int, where: str) -> np.ndarray:
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(member)]
    shape, _, dtype = read_header(member)
    if dtype.hasobject:
        values = _unpickle(io.BytesIO(member.read()), where)
        if not isinstance(values, np.ndarray) or values.dtype != object:
            raise DataError(f"{where} is damaged: its header says objects; copy the file again")
        return values.reshape(shape)
    if num_bytes != member.tell() + math.prod(shape) * dtype.itemsize:  # before so much memory is taken
        raise DataError(f"{where} is damaged: {num_bytes} bytes are not {shape} of {dtype}")
    member.seek(0)
    return np.lib.format.read_array(member, allow_pickle=False)


def _unpickle(content: io.BytesIO | mmap.mmap, where: str) -> Any:
    try:
        return _Unpickler(content, where).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises of every kind
        raise DataError(
            f"{where} is no pickle, or is damaged: {type(error).__name__}; copy it again"
        ) from None


_KEY_TYPES = (str, bytes, int, float, complex, type(None), np.generic)


class _Dtype:
    """A dtype under construction: its name first, its byte order by ``set``."""

    def __init__(self, name: str) -> None:
        if not _DTYPE_NAME.fullmatch(name):
            raise ValueError(name)
        self.value = np.dtype(object if name.startswith("O") else name)
        if self.value.itemsize == 0:
            raise ValueError(name)

    def set(self, state: tuple[Any, ...]) -> None:
        _version, byte_order, base, names, fields, *_size_and_flags = state
        if base is not None or names is not None or fields is not None:
            raise ValueError("structured dtype")
        if byte_order in ("<", ">"):
            self.value = self.value.newbyteorder(byte_order)


def _make_dtype(name: str, *_align_and_copy: object) -> _Dtype:
    return _Dtype(name)


def _make_array(*_class_and_shape: object) -> np.ndarray:
    """Empty whatever shape the file asks for: the real one comes with the data."""
    return np.empty(0, np.int8)


def _fill_array(array: np.ndarray, state: tuple[Any, ...]) -> None:
    _version, shape, dtype, is_fortran, data = state
    if array.shape != (0,):
        raise ValueError("array is filled twice")
    dtype = _check_data(shape, dtype, data)
    data = data if dtype.hasobject else _to_bytes(data)
    array.__setstate__((1, shape, dtype, bool(is_fortran), data))  # pyright: ignore[reportArgumentType]


def _array_of_buffer(buffer: bytes | bytearray, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    if (real := _check_data(shape, dtype, buffer)).hasobject:
        raise ValueError("objects in a buffer")
    return np.frombuffer(buffer, real).reshape(shape, order="F" if order == "F" else "C")


def _make_scalar(dtype: _Dtype, data: bytes | str) -> np.generic:
    if (real := _check_data((), dtype, data)).hasobject:
        raise ValueError("scalar object")
    return np.frombuffer(_to_bytes(data), real)[0]


def _check_data(shape: Any, dtype: Any, data: Any) -> np.dtype[Any]:
    """The true dtype, once shape and data are known to fit it."""
    if not isinstance(dtype, _Dtype) or type(shape) is not tuple:
        raise ValueError("dtype or shape")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError("shape")
    real = dtype.value
    types, unit = (list, 1) if real.hasobject else ((bytes, bytearray, str), real.itemsize)
    if not isinstance(data, types) or len(data) != math.prod(shape) * unit:
        raise ValueError("data do not fit the shape")
    return real


def _to_bytes(data: bytes | bytearray | str) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else bytes(data)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    return text.encode("latin-1")


def _make_bytes() -> bytes:
    return b""


def _hashable(items: list[Any]) -> list[Any]:
    """The items, if they can be keys: hashing tuples nested a million deep would end the process."""
    for item in items:
        parts = item if type(item) is tuple else (item,)
        if not all(isinstance(part, _KEY_TYPES) for part in parts):
            raise ValueError("key of something else")
    return items


def _make_set(items: list[Any]) -> set[Any]:
    return set(_hashable(items))


def _make_frozenset(items: list[Any]) -> frozenset[Any]:
    return frozenset(_hashable(items))


def _make_ordered(items: list[Any] | tuple[()] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(zip(_hashable([key for key, _ in items]), (value for _, value in items), strict=True))


def _make_complex(real: float, imag: float) -> complex:
    return complex(real, imag)


class _Inert:
    """Stands for a name that is only ever handed to one of the functions."""


def _in_modules(modules: str, name: str, value: Any) -> dict[str, Any]:
    return {f"{module}.{name}": value for module in modules.split()}


_ARRAYS = "numpy._core.multiarray numpy.core.multiarray"
_NUMERIC = "numpy._core.numeric numpy.core.numeric"
_BUILTINS = "builtins __builtin__"

_NAMES: dict[str, Any] = {
    **_in_modules(_ARRAYS, "_reconstruct", _make_array),
    **_in_modules(_ARRAYS, "scalar", _make_scalar),
    **_in_modules(_NUMERIC, "_frombuffer", _array_of_buffer),
    **_in_modules("numpy", "dtype", _make_dtype),
    **_in_modules("numpy", "ndarray", _Inert()),
    **_in_modules("_codecs", "encode", _encode),
    **_in_modules("collections", "OrderedDict", _make_ordered),
    **_in_modules(_BUILTINS, "bytes", _make_bytes),
    **_in_modules(_BUILTINS, "set", _make_set),
    **_in_modules(_BUILTINS, "frozenset", _make_frozenset),
    **_in_modules(_BUILTINS, "complex", _make_complex),
}
"""All that a pickle can name."""


# Python's own unpickler rather than the one in C: its operations can be left out and replaced one by one, and
# a damaged file cannot make it reserve memory (the one in C keeps its memo in an array as long as the
# largest index).
class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    _plain: ClassVar[Any] = pickle._Unpickler

    def __init__(self, content: io.BytesIO | mmap.mmap, where: str) -> None:
        super().__init__(content, fix_imports=False, encoding="latin-1")
        self._where = where
        size = len(content) if isinstance(content, mmap.mmap) else content.getbuffer().nbytes
        self._num_left = 4 * size + 2**20

    def _spend(self, values: tuple[Any, ...]) -> None:
        """Count what a function is given: a file could hand it the same megabyte again and again."""
        sized = (bytes, bytearray, str, list, tuple)
        self._num_left -= sum(len(value) for value in values if isinstance(value, sized))
        if self._num_left < 0:
            raise ValueError("more data than the file holds")

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _NAMES:
            raise DataError(
                f"{self._where} refers to {full_name!r}: it holds more than arrays and plain containers, "
                "and nothing in it was executed; do not use it unless its source is certain"
            )
        return _NAMES[full_name]

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, FunctionType) or type(arguments) is not tuple:
            raise ValueError("call of something else")
        self._spend(arguments)
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, _Dtype):
            instance.set(state)
        elif type(instance) is np.ndarray:
            self._spend(state)
            _fill_array(instance, state)
        else:
            raise ValueError("state of something else")

    def load_setitem(self) -> None:
        _hashable(self.stack[-2:-1])
        self._plain.load_setitem(self)

    def load_setitems(self) -> None:
        _hashable(self.stack[::2])  # the stack begins at the mark
        self._plain.load_setitems(self)

    def load_dict(self) -> None:
        _hashable(self.stack[::2])
        self._plain.load_dict(self)

    def load_additems(self) -> None:
        _hashable(self.stack)
        self._plain.load_additems(self)

    def load_frozenset(self) -> None:
        _hashable(self.stack)
        self._plain.load_frozenset(self)

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        data = self.read(length)  # first, and no longer than the file
        if len(data) != length:
            raise EOFError
        self.append(bytearray(data))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{code: run for code, run in pickle._Unpickler.dispatch.items() if bytes([code]) not in _LEFT_OUT},
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }
