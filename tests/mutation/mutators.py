"""Seeded damage to the files that gp reads, as people, other tools and broken disks do it.

Every function takes the bytes of a sound file and gives those of a damaged one; the same random
numbers give the same damage.
"""

import io
import json
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

Mutator = Callable[[bytes, Random], bytes]
Path = tuple[str | int, ...]

ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 64, 2**31, 2**63, -(2**63), 10**30, 0.0, -0.5, 0.5,
    1e-300, 1e308, float("nan"), float("inf"), float("-inf"), "", "x", "0", "-1",
    "all", "true", "llama", "../..", "/etc/passwd", "\x1b]0;P\x07\x1b[31m",
    "a\nb", "\u202egnp", "\ud800", "é" * 300,
    "<script>alert(1)</script>", "[x](javascript:alert(1))", "{{ 1/0 }}", "{% for %}", [], [[]], {},
    [0], [None], ["x"], {"x": 1}, {"0": {}}, [1, 2, 3], [-1], [1e400], "sha256:0",
)  # fmt: skip
NUMBERS: Final = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
DEEP: Final = 20_000


def mutate_json(content: bytes, random: Random) -> bytes:
    """One to three changes of values, keys or lengths; now and then damage to the text itself."""
    if random.random() < 0.12:
        return mutate_text(content, random)
    document = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        document = _changed(document, random)
    return json.dumps(document).encode()


def mutate_text(content: bytes, random: Random) -> bytes:
    """Lines lost, doubled or swapped, bytes changed, brackets without end."""
    lines = content.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    match random.randrange(10):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            return content[: random.randrange(len(content) + 1)]
        case 4:
            lines.insert(at, random.choice((b"[", b"{", b"- ", b"((", b'{"a":')) * DEEP)
        case 5:
            lines[at] = random.choice(
                (b"\x00", b"\xff\xfe", b"\x1b[31m", b"\t", b"? ", b"!!python/x ")
            )
        case 6:
            lines[at] = _with_number(lines[at], random)
        case 7:
            lines[at] = lines[at].replace(
                b":", random.choice((b"", b"::", b": &a ", b": *a ", b": |")), 1
            )
        case 8:
            return content * 2
        case _:
            return mutate_bytes(content, random)
    return b"".join(lines)


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """Single bytes changed, a piece lost, a piece of noise, an end cut off."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(changed) or 1)
        match random.randrange(5):
            case 0 | 1:
                changed[at : at + 1] = bytes((random.randrange(256),))
            case 2:
                del changed[at : at + random.choice((1, 4, 100))]
            case 3:
                changed[at:at] = random.randbytes(random.choice((1, 8, 64)))
            case _:
                del changed[at + 1 :]
    return bytes(changed)


def mutate_header(content: bytes, random: Random) -> bytes:
    """The first kilobytes of a binary file: numbers of four and eight bytes, and single bytes."""
    head = bytearray(content[:4096])
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(max(1, len(head) - 8))
        number = random.choice(NUMBERS)
        match random.randrange(4):
            case 0:
                head[at : at + 8] = struct.pack("<Q", number & (2**64 - 1))
            case 1:
                head[at : at + 4] = struct.pack("<I", number & (2**32 - 1))
            case 2:
                head[at] = random.randrange(256)
            case _:
                head[at : at + 4] = random.randbytes(4)
    return bytes(head) + content[4096:]


def mutate_safetensors(content: bytes, random: Random) -> bytes:
    """The JSON header of a safetensors file, its length kept true; now and then any byte."""
    if random.random() < 0.2:
        return mutate_header(content, random)
    (length,) = struct.unpack("<Q", content[:8])
    header = mutate_json(content[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def mutate_parquet(content: bytes, random: Random) -> bytes:
    """Columns lost, doubled, of other types, with other values or metadata; or any byte."""
    if random.random() < 0.15:
        return mutate_bytes(content, random)
    table = pq.read_table(io.BytesIO(content))
    name = random.choice(table.column_names)
    at = table.column_names.index(name)
    match random.randrange(8):
        case 0:
            table = table.drop_columns([name])
        case 1:
            table = table.append_column(name, table[name])
        case 2:
            values = pa.array([random.choice(("x", "attention", None)) for _ in range(len(table))])
            table = table.set_column(at, name, values)
        case 3:
            table = table.slice(random.randrange(len(table)), random.randrange(len(table)))
        case 4:
            table = pa.concat_tables([table, table])
        case 5:
            table = table.replace_schema_metadata(_metadata(table.schema.metadata or {}, random))
        case _:
            table = table.set_column(at, name, _with_odd_value(table[name], random))
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def _with_odd_value(column: Any, random: Random) -> Any:
    """A column with one value that it should not have, of its type or of another."""
    values = column.to_pylist()
    at = random.randrange(len(values) or 1)
    odd = random.choice((None, -1, 0, 2**31 - 1, 2**40, float("nan"), float("inf"), 1e300))
    values[at : at + 1] = [odd]
    for kind in (column.type, pa.float64(), None):
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, ValueError, OverflowError):
            continue
    return pa.nulls(len(values))


def _metadata(found: dict[bytes, bytes], random: Random) -> dict[bytes, bytes]:
    """Other metadata, or none."""
    name = random.choice([*found, b"x"])
    odd = random.choice((b"", b"\xff", b"globalprune.groups/9", b"{", b"[" * 1000, b"0" * 100))
    return random.choice(({}, {**found, name: odd}, {k: v for k, v in found.items() if k != name}))


def _with_number(line: bytes, random: Random) -> bytes:
    """A line with an odd number behind its first digit."""
    digits = [at for at, byte in enumerate(line) if chr(byte).isdigit()]
    if not digits:
        return line
    at = random.choice(digits)
    number = random.choice(
        (b"-1", b"99999999999999999999", b"1e999", b".nan", b"0x7f", b"0-10000000000")
    )
    return line[:at] + number + line[at + 1 :]


def _changed(document: Any, random: Random) -> Any:
    """The document with one node changed."""
    places = list(_places(document))
    # a long list is one place among others, or every change would fall into it
    place = (
        random.choice([p for p in places if len(p) < 3] or places)
        if random.random() < 0.5
        else random.choice(places)
    )
    return _with(document, place, random)


def _places(node: Any, here: Path = ()) -> Iterator[Path]:
    yield here
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        yield from _places(value, (*here, key))


def _with(node: Any, place: Path, random: Random) -> Any:
    """The node with what stands at the place below it changed."""
    if not place:
        return _other(node, random)
    key: Any = place[0]
    rest = place[1:]
    if rest:
        node[key] = _with(node[key], rest, random)
        return node
    what = random.randrange(6)
    if isinstance(node, dict) and what == 0:
        del node[key]
    elif isinstance(node, dict) and what == 1:
        node[random.choice((f"{key}x", "", "\x1b[31m", "0"))] = node[key]
    elif isinstance(node, list) and what == 0:
        del node[key]
    elif isinstance(node, list) and what == 1:
        node.insert(key, node[key])
    else:
        node[key] = _other(node[key], random)
    return node


def _other(value: Any, random: Random) -> Any:
    """Something else in the place of a value, often of its own kind."""
    near: list[Any] = []
    if isinstance(value, bool):
        near = [not value]
    elif isinstance(value, int | float):
        near = [value + 1, value - 1, -value, value * 1000, float(value), str(value)]
    elif isinstance(value, str):
        near = [value[:-1], value + "x", value.upper(), [value], value + "\x1b[2K\r"]
    elif isinstance(value, list):
        near = [value[1:], value[:-1], value * 2, {str(k): v for k, v in enumerate(value)}]
    elif isinstance(value, dict):
        near = [dict(list(value.items())[1:]), list(value.values()), list(value)]
    return random.choice(near) if near and random.random() < 0.5 else random.choice(ODD)
