"""Arrays of NumPy and tables of Arrow, if the program uses them: neither library is ever imported from here.

What was stored of them can be read once the program has imported the library.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Final

from treadle.codec.classes import Classes
from treadle.codec.kinds import Kind
from treadle.codec.refusals import Refused
from treadle.errors import Corrupt, UnknownType


def _library(name: str) -> Any:
    library = sys.modules.get(name)
    if library is None:
        raise UnknownType(
            f"A value of {name} was stored, which this program has not imported.",
            hint=f"import {name} before the run is loaded.",
        )
    return library


# ------------------------------------------------------------------------------------------ NumPy


def _described(dtype: Any) -> Any:
    """The dtype as text, or for records as a list of fields; refused if that does not say all."""
    numpy = sys.modules["numpy"]
    if dtype.hasobject or dtype.kind not in "biufcmMSUV":
        raise Refused(
            f"has dtype {dtype}, whose elements are objects of Python",
            hint="use a dtype of numbers or text, or a list.",
        )
    bare = getattr(numpy.lib.format, "drop_metadata", None)
    if dtype.metadata or (bare is not None and bare(dtype) is not dtype):
        raise Refused(f"has dtype {dtype} with metadata, which NumPy itself does not write")
    told = numpy.lib.format.dtype_to_descr(dtype)
    if numpy.lib.format.descr_to_dtype(told) != dtype:
        raise Refused(f"has dtype {dtype}, which cannot be told in full")
    return told


def _verify_array(value: Any) -> None:
    _described(value.dtype)


def _verify_nothing(_: Any) -> None:
    """Every table can be written."""


def _dtype(told: Any) -> Any:
    dtype = _library("numpy").lib.format.descr_to_dtype(_tuples(told))
    if dtype.hasobject:
        raise Corrupt("An array of objects is never stored.")
    return dtype


def _tuples(told: Any) -> Any:
    """The description of a dtype, with tuples where MessagePack gave lists."""
    if isinstance(told, str):
        return told
    return [
        tuple(tuple(x) if isinstance(x, list) and i == 2 else x for i, x in enumerate(field))
        for field in told
    ]


def _take_array(value: Any, _: Classes) -> Sequence[Any]:
    told = _described(value.dtype)
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return (told, list(value.shape), is_fortran, value.tobytes("A" if is_fortran else "C"))


def _make_array(parts: list[Any], _: Classes) -> Any:
    told, shape, is_fortran, data = parts
    dtype = _dtype(told)
    if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(
        data
    ):
        raise Corrupt("An array has not the size that its shape says.")
    numpy = _library("numpy")
    array = numpy.ndarray(shape, dtype, bytearray(data), order="F" if is_fortran else "C")
    return array.copy("K")


def _take_scalar(value: Any, _: Classes) -> Sequence[Any]:
    told, data = _described(value.dtype), value.tobytes()
    if value.dtype.kind in "SU" and value.dtype.type(_of_bytes(value.dtype, data)) != value:
        raise Refused("ends in null characters, which NumPy itself would drop")
    return (told, data)


def _of_bytes(dtype: Any, data: bytes) -> Any:
    return _library("numpy").ndarray((), dtype, data)[()]


def _make_scalar(parts: list[Any], _: Classes) -> Any:
    told, data = parts
    dtype = _dtype(told)
    if dtype.itemsize != len(data):
        raise Corrupt("A number has not the size that its type says.")
    return _of_bytes(dtype, data)


# ------------------------------------------------------------------------------------------ Arrow


def _take_arrow(value: Any, _: Classes) -> Sequence[Any]:
    arrow = sys.modules["pyarrow"]
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, value.schema) as writer:
        writer.write(value)
    return (sink.getvalue().to_pybytes(),)


def _read_arrow(parts: list[Any]) -> Any:
    arrow = _library("pyarrow")
    (data,) = parts
    return arrow.ipc.open_stream(arrow.py_buffer(data))


def _make_table(parts: list[Any], _: Classes) -> Any:
    table = _read_arrow(parts).read_all()
    table.validate(full=True)
    return table


def _make_batch(parts: list[Any], _: Classes) -> Any:
    batch = _read_arrow(parts).read_next_batch()
    batch.validate(full=True)
    return batch


ARRAY: Final = Kind(40, _take_array, _make_array, verify=_verify_array, is_leaf=True)
SCALAR: Final = Kind(41, _take_scalar, _make_scalar, is_leaf=True)
TABLE: Final = Kind(42, _take_arrow, _make_table, verify=_verify_nothing, is_leaf=True)
BATCH: Final = Kind(43, _take_arrow, _make_batch, verify=_verify_nothing, is_leaf=True)


def kind_of(cls: type) -> Kind | None:
    """The kind of a class, if it is one of theirs."""
    root = cls.__module__.partition(".")[0]
    library = sys.modules.get(root)
    if root == "numpy" and library is not None:
        if cls is library.ndarray:
            return ARRAY
        return SCALAR if issubclass(cls, library.generic) else None
    if root == "pyarrow" and library is not None:
        return {library.Table: TABLE, library.RecordBatch: BATCH}.get(cls)
    return None
