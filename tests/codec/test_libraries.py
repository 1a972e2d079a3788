"""attrs, pydantic, NumPy and Arrow, where they are installed."""

import math
import subprocess
import sys
from typing import Any

import pytest
from msgspec import msgpack

from treadle.codec import Codec
from treadle.errors import Corrupt, EncodeError, UnknownType


def back(made: Codec, value: Any) -> Any:
    """Check it, write it, and read it, in a list."""
    made.check([value])
    (found,) = made.decode(made.encode([value]))
    assert type(found) is type(value)
    return found


# ------------------------------------------------------------------------------------------- attrs


def test_attrs_classes_come_back_as_they_were() -> None:
    """With slots and without, frozen, with fields that the constructor would convert, with a kept hash."""
    attrs: Any = pytest.importorskip("attrs")

    @attrs.define
    class Slotted:
        x: Any = attrs.field(converter=str)
        y: list[int] = attrs.Factory(list)
        z: int = attrs.field(init=False)

    @attrs.frozen(cache_hash=True, unsafe_hash=True)
    class Hashed:
        x: str

    @attrs.define(slots=False)
    class Open:
        x: int = attrs.field(validator=attrs.validators.gt(0))

    made = Codec([Slotted, Hashed, Open])
    slotted = Slotted(1, [2])  # type: ignore[call-arg]
    with attrs.validators.disabled():
        negative = Open(-1)  # type: ignore[call-arg]
    hashed = Hashed("word")  # type: ignore[call-arg]
    hash(hashed)

    assert (back(made, slotted).x, back(made, slotted).y) == ("1", [2])
    assert not hasattr(back(made, slotted), "z")
    assert back(made, negative) == negative
    assert back(made, hashed) == hashed
    assert back(made, hashed)._attrs_cached_hash is None  # of another process it would be wrong
    assert hash(back(made, hashed)) == hash(hashed)


def test_attrs_classes_may_get_new_fields() -> None:
    """With a default, or a factory; one without is told."""
    attrs: Any = pytest.importorskip("attrs")
    old = attrs.make_class("Thing", ["x"], slots=False)
    new = attrs.make_class(
        "Thing", {"x": attrs.field(), "y": attrs.field(default=1), "z": attrs.field(factory=list)}
    )
    needy = attrs.make_class("Thing", ["x", "w"])
    writer, reader, other = Codec(), Codec(), Codec()
    writer.register(old, name="thing")
    reader.register(new, name="thing")
    other.register(needy, name="thing")
    data = writer.encode(old(5))

    assert reader.decode(data) == new(5, 1, [])
    with pytest.raises(UnknownType, match="stored without 'w', which it has now"):
        other.decode(data)


# ---------------------------------------------------------------------------------------- pydantic


def test_pydantic_models_come_back_as_they_were() -> None:
    """Fields, which of them were set, extras, private attributes; no validator runs."""
    pydantic: Any = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):
        name: str
        tags: set[str] = set()  # noqa: RUF012

    class Order(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        id: int
        items: list[Item] = []  # noqa: RUF012
        note: str = pydantic.Field(default="n", alias="remark")
        _seen: int = pydantic.PrivateAttr(default=0)

        @pydantic.field_validator("id")
        @classmethod
        def positive(cls, value: int) -> int:
            if value <= 0:
                raise ValueError("not positive")
            return value

    made = Codec()
    made.learn([Order])
    order = Order(id=1, items=[Item(name="a", tags={"x"})], more=(1, 2))
    order._seen = 3
    order.id = -1

    found = back(made, order)

    assert found == order
    assert (found.id, found.more, found._seen) == (-1, (1, 2), 3)
    assert found.model_fields_set == order.model_fields_set
    assert type(found.items[0].tags) is set


def test_pydantic_models_may_get_new_fields() -> None:
    """With a default; one without is told."""
    pydantic: Any = pytest.importorskip("pydantic")
    old = pydantic.create_model("Thing", x=(int, ...))
    new = pydantic.create_model(
        "Thing", x=(int, ...), y=(list, pydantic.Field(default_factory=list))
    )
    needy = pydantic.create_model("Thing", x=(int, ...), w=(int, ...))
    writer, reader, other = Codec(), Codec(), Codec()
    writer.register(old, name="thing")
    reader.register(new, name="thing")
    other.register(needy, name="thing")
    data = writer.encode(old(x=5))

    assert reader.decode(data).y == []
    with pytest.raises(UnknownType, match="stored without 'w', which it has now"):
        other.decode(data)


# ------------------------------------------------------------------------------------------- NumPy


@pytest.mark.slow
def test_numpy_arrays_come_back_as_they_were() -> None:
    """Of every dtype that is data: shape, order of bytes and of axes, records, times, text; and they can be written."""
    np = pytest.importorskip("numpy")
    made = Codec()
    records = np.array(
        [(1, b"ab", [1.5, 2.5])], dtype=[("n", "<i4"), ("s", "S3"), ("v", ">f8", (2,))]
    )
    arrays = [
        np.arange(6).reshape(2, 3),
        np.arange(6, dtype=">u2").reshape(2, 3, order="F"),
        np.arange(10)[::3],
        np.array(5.5),
        np.zeros((0, 3), dtype=bool),
        np.array([math.nan, -0.0, math.inf]),
        np.array(["a", "longer"]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([1 + 2j], dtype="complex64"),
        records,
        np.zeros(2, dtype=[(("title", "name"), "<i2")]),
    ]
    for array in arrays:
        found = back(made, array)
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
        assert found.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous
        assert found.flags.writeable


def test_numpy_scalars_do_not_become_numbers_of_python() -> None:
    """`numpy.float64` is a float, and comes back as what it is, inside other values too."""
    np = pytest.importorskip("numpy")
    made = Codec()
    for value in (
        np.float64(1.5),
        np.int8(-3),
        np.bool_(True),
        np.str_("x"),
        np.datetime64(3, "s"),
        np.complex64(1j),
    ):
        found = back(made, value)
        assert found == value
        assert found.dtype == value.dtype
    assert type(made.decode(made.encode({"k": (np.float32(1),)}))["k"][0]) is np.float32


def test_numpy_objects_are_refused() -> None:
    """An array of objects would be a pickle; other dtypes cannot be told in full; subclasses are other classes."""
    np = pytest.importorskip("numpy")
    made = Codec()
    for value, told in [
        (np.array([object()]), "value has dtype object, whose elements are objects of Python"),
        (np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), "value has dtype"),
        (np.array(["a"], dtype=np.dtypes.StringDType()), "value has dtype StringDType"),
        (
            np.zeros(1, dtype=np.dtype("i4", metadata={"unit": "m"})),
            "value has dtype int32 with metadata",
        ),
        (np.ma.masked_array([1]), "value is a numpy.ma.MaskedArray, which is not registered"),
        (np.str_("a\0"), "value ends in null characters"),
    ]:
        for refuse in (made.check, made.encode):
            with pytest.raises(EncodeError) as caught:
                refuse(value)
            assert str(caught.value).startswith(told)


def test_hostile_arrays_are_corrupt() -> None:
    """A shape that is too large or negative, objects, nonsense for a dtype: nothing is set aside, nothing unpickled."""
    pytest.importorskip("numpy")
    parts: Any
    for parts in (
        ["<f8", [1 << 60], False, b""],
        ["<f8", [-1], False, b""],
        ["<f8", [-1, -1], False, bytes(8)],
        ["|O", [1], False, bytes(8)],
        [[["a", "|O"]], [1], False, bytes(8)],
        ["nonsense", [1], False, b"x"],
        [7, [1], False, b"x"],
        ["<f8", "x", False, b"x"],
        ["<f8", [1], False, "12345678"],
        ["<f8"],
    ):
        with pytest.raises(Corrupt):
            Codec().decode(b"\x10" + msgpack.encode(msgpack.Ext(40, msgpack.encode(parts))))
    for parts in (["|O", bytes(8)], ["<f8", b"x"], ["<f8", None]):
        with pytest.raises(Corrupt):
            Codec().decode(b"\x10" + msgpack.encode(msgpack.Ext(41, msgpack.encode(parts))))


# ------------------------------------------------------------------------------------------- Arrow


def test_arrow_tables_come_back_as_they_were() -> None:
    """Tables and record batches: schema with its metadata, nulls, nested types, dictionaries, chunks."""
    pa = pytest.importorskip("pyarrow")
    made = Codec()
    batch = pa.record_batch(
        {
            "n": [1, None],
            "s": ["a", "b"],
            "l": [[1], []],
            "d": pa.array(["x", "x"]).dictionary_encode(),
        }
    )
    table = pa.Table.from_batches([batch, batch]).replace_schema_metadata({"made": "here"})

    assert back(made, batch).equals(batch, check_metadata=True)
    assert back(made, table).equals(table, check_metadata=True)
    assert back(made, table).column("n").num_chunks == 2
    assert back(made, table.slice(0, 0)).schema == table.schema


@pytest.mark.slow
def test_damaged_tables_are_corrupt() -> None:
    """Each byte changed in turn: a table, or an error of the store."""
    pa = pytest.importorskip("pyarrow")
    made = Codec()
    good = made.encode(pa.table({"n": [1, None], "s": ["a", "bc"]}))

    for at in range(len(good)):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
            try:
                made.decode(bad)
            except (Corrupt, UnknownType):
                continue
            except Exception as error:
                assert type(error).__name__ == "SchemaTooNew"


# ----------------------------------------------------------------------------------------- imports

WITHOUT = """
import sys
from treadle.codec import Codec
from treadle.errors import UnknownType
codec = Codec()
for value in ([1, (2,)], {3}, "x"):
    assert codec.decode(codec.encode(value)) == value
for line in sys.stdin.read().split():
    try:
        codec.decode(bytes.fromhex(line))
    except UnknownType as error:
        assert "which this program has not imported" in str(error), error
    else:
        raise AssertionError(line)
print(sorted({"numpy", "pyarrow", "pydantic", "attr", "attrs", "zstandard"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_no_library_is_imported() -> None:
    """Neither by the codec itself nor since the bytes are of a library's values."""
    np = pytest.importorskip("numpy")
    pa = pytest.importorskip("pyarrow")
    stored = [
        Codec().encode(value) for value in (np.arange(3), np.float64(1), pa.table({"n": [1]}))
    ]

    found = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input="\n".join(data.hex() for data in stored),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.stdout.strip(), found.stderr) == ("[]", "")
