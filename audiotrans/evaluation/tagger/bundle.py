"""Reads the tensors of a TensorFlow checkpoint without TensorFlow.

Such a checkpoint is two files. The index is a sorted table of blocks: names, each written as what it shares with the
one before and the rest, and for each a small protocol-buffer message with type, shape, offset and size. The other file
holds the numbers one behind the other. Only what one file of numbers and uncompressed blocks need is read here.

Sources:
    The table format of LevelDB (doc/table_format.md) and tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_FLOAT32 = 1
# Numbers of the fields of the messages BundleEntryProto, TensorShapeProto and its Dim.
_TYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
_DIM, _DIM_SIZE = 2, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_bundle(index: Path, data: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read every float32 tensor of a checkpoint.

    Args:
        index: the file that names them.
        data: the file that holds their numbers.

    Returns:
        Name and array.

    Raises:
        AudiotransError: where a file cannot be read, or is no such checkpoint.
    """
    try:
        table, numbers = index.read_bytes(), data.read_bytes()
    except OSError as error:
        raise AudiotransError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        return dict(_tensors(table, numbers))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise AudiotransError(f"{index} is no checkpoint that can be read here: {error}") from None


def _tensors(table: bytes, numbers: bytes) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    if table[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it does not end as one")
    footer, place = table[-_FOOTER:], 0
    for _ in range(2):  # where the unused block of metadata lies
        _, place = _varint(footer, place)
    offset, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    for _, handle in _entries(table, offset, size):
        first, place = _varint(handle, 0)
        length, _ = _varint(handle, place)
        for name, value in _entries(table, first, length):
            entry = dict(_fields(value))
            if name and entry.get(_TYPE) == _FLOAT32:  # the entry without a name describes the whole
                yield name.decode(), _array(entry, numbers)


def _array(entry: dict[int, int | bytes], numbers: bytes) -> npt.NDArray[np.float32]:
    shape = [_integer(dict(_fields(dim)), _DIM_SIZE) for field, dim in _fields(_message(entry)) if field == _DIM]
    start, size = _integer(entry, _OFFSET), _integer(entry, _SIZE)
    if size != 4 * math.prod(shape) or start + size > len(numbers):
        raise ValueError("a tensor's size is not that of its shape, or beyond the file's end")
    return np.frombuffer(numbers, "<f4", math.prod(shape), start).reshape(shape)


def _message(entry: dict[int, int | bytes]) -> bytes:
    value = entry.get(_SHAPE, b"")
    if not isinstance(value, bytes):
        raise TypeError("a shape is no message")
    return value


def _integer(entry: dict[int, int | bytes], field: int) -> int:
    value = entry.get(field, 0)  # zeros are not written
    if not isinstance(value, int):
        raise TypeError(f"field {field} is no number")
    return value


def _entries(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of every entry of a block."""
    if table[offset + size] != 0:
        raise ValueError("its blocks are compressed")
    block = table[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end, place, key = len(block) - 4 * (restarts + 1), 0, b""
    while place < end:
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + rest]
        place += rest
        yield key, block[place : place + length]
        place += length


def _fields(message: int | bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of every field of a protocol-buffer message."""
    if not isinstance(message, bytes):
        raise TypeError("a message is no bytes")
    place = 0
    while place < len(message):
        head, place = _varint(message, place)
        field, kind = head >> 3, head & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield field, number
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[kind]
        yield field, message[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return it and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
