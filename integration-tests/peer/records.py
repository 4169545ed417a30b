"""Records: what one path is, signed and sealed. docs/protocol/records.md."""

from __future__ import annotations

from dataclasses import dataclass

import cbor2

from . import paths
from .batches import Batch
from .content import Root
from .keys import Keys

FILE, DIRECTORY, SYMLINK, DELETION = 1, 2, 3, 4
ENTRY, CIPHER, HEAD = 1, 2, 3
FOR_ALL, IN_KNOWLEDGE = 1, 2
BLOCK = 16

Dot = tuple[int, int]
"""Replica and counter."""
RUNS = 16
"""Most ranges of one replica in knowledge."""

Vector = dict[int, int]
"""The highest counter of each replica."""


class Later(ValueError):
    """A record of a format that this peer doesn't know."""


@dataclass(frozen=True)
class Entry:
    """What stands at one path."""

    path: bytes
    kind: int
    size: int
    mtime_ns: int
    mode: int
    content: Root | None
    prev: Root | None
    target: bytes | None
    author: int


@dataclass(frozen=True)
class Record:
    """A checked record: what it says, the bytes that were signed, and where its signature is."""

    entry: Entry
    dot: Dot
    vector: Vector
    era: int
    signed: bytes
    batch: Batch
    place: int


def flat(vector: Vector) -> list[int]:
    """The array of a vector, replicas rising."""
    return [number for pair in sorted(vector.items()) for number in pair]


def parse_vector(numbers: list[int]) -> Vector:
    """Reads a vector; refuses any other form than the one that `flat` makes."""
    vector = dict(zip(numbers[::2], numbers[1::2]))
    if flat(vector) != numbers or 0 in vector.values():
        raise ValueError("a vector in another form")
    return vector


Knowledge = dict[int, list[tuple[int, int]]]
"""The first and last counters of what was seen of each replica, in order."""


def seen(dots: Knowledge, replica: int, first: int, last: int) -> None:
    """Notes that a range of a replica's changes was seen."""
    first = 1 if first == 2 else first
    apart = [(a, b) for a, b in dots.get(replica, []) if b + 1 < first or a > last + 1]
    near = [(a, b) for a, b in dots.get(replica, []) if b + 1 >= first and a <= last + 1]
    joined = (min([first] + [a for a, _ in near]), max([last] + [b for _, b in near]))
    ranges = sorted([*apart, joined])
    surplus = max(0, len(ranges) - RUNS)
    dots[replica] = [(ranges[0][0], ranges[surplus][1]), *ranges[surplus + 1 :]]


def flat_knowledge(dots: Knowledge) -> list[object]:
    """The array of what was seen, replicas rising."""
    flat_dots: list[object] = []
    for replica, ranges in sorted(dots.items()):
        if len(ranges) == 1 and ranges[0][0] == 1:
            flat_dots += [replica, ranges[0][1]]
            continue
        numbers, least = [], 0
        for first, last in ranges:
            numbers += [first - least, last - first]
            least = last + 2
        flat_dots += [replica, numbers]
    return flat_dots


def parse_knowledge(fields: list[object]) -> Knowledge:
    """Reads what was seen; refuses any other form than the one that `flat_knowledge` makes."""
    dots: Knowledge = {}
    for replica, said in zip(fields[::2], fields[1::2]):
        assert isinstance(replica, int)
        if isinstance(said, int):
            dots[replica] = [(1, said)]
            continue
        assert isinstance(said, list)
        least = 0
        dots[replica] = []
        for gap, more in zip(said[::2], said[1::2]):
            dots[replica].append((least + gap, least + gap + more))
            least += gap + more + 2
    wrong = any(not ranges or ranges[0][0] < 1 or ranges[0][1] < 1 or len(ranges) > RUNS for ranges in dots.values())
    if wrong or flat_knowledge(dots) != fields:
        raise ValueError("knowledge in another form")
    return dots


def array(fields: list[object], more: int = 0) -> bytes:
    """The encoding of an array of these fields and `more` to come."""
    count = len(fields) + more
    assert count < 24, "arrays of records are short"
    return bytes([0x80 | count]) + b"".join(cbor2.dumps(field) for field in fields)


def head(era: int, path_id: bytes, entry: Entry, dot: Dot, vector: Vector) -> bytes:
    """The encoding up to the sealed body, which is its associated data."""
    past = [] if vector == {dot[0]: dot[1]} else [flat(vector)]
    return array([ENTRY, FOR_ALL | IN_KNOWLEDGE, era, path_id, list(dot), entry.kind, *past], more=1)


def body(entry: Entry, dot: Dot) -> bytes:
    """The plaintext of the body, filled up."""
    author = None if entry.author == dot[0] else entry.author
    fields: list[object] = [entry.path, entry.size, entry.mtime_ns, entry.mode]
    fields += [entry.content, entry.prev, entry.target, author]
    while fields[-1] is None:
        fields.pop()
    plain = cbor2.dumps(fields)
    return plain + bytes(-len(plain) % BLOCK)


def signed_bytes(keys: Keys, era: int, entry: Entry, dot: Dot, vector: Vector) -> bytes:
    """The bytes that are signed, kept and passed on."""
    clear = head(era, keys.path_id(entry.path), entry, dot, vector)
    return clear + cbor2.dumps(keys.seal(clear, body(entry, dot)))


def parse(keys: Keys, signed: bytes, batch: Batch, place: int) -> Record:
    """Reads a record whose signature was checked."""
    fields = cbor2.loads(signed)
    if len(fields) < 6 or len(fields[3]) != 16 or fields[4][1] == 0:
        raise ValueError("no envelope")
    if fields[0] != ENTRY:
        raise Later(f"a record of format {fields[0]}")
    if len(fields) not in (7, 8):
        raise ValueError("an entry has seven or eight fields")
    _, _, era, path_id, (replica, counter), kind, *past, sealed = fields
    dot = (replica, counter)
    vector = parse_vector(past[0]) if past else {replica: counter}
    if vector.get(replica, 0) < counter:
        raise ValueError("a version that doesn't cover itself")
    clear = signed[: -len(cbor2.dumps(sealed))]
    entry = parse_body(keys.open(clear, sealed), kind, replica)
    if keys.path_id(entry.path) != path_id or head(era, path_id, entry, dot, vector) != clear:
        raise ValueError("an envelope that doesn't fit, or not its only encoding")
    return Record(entry, dot, vector, era, signed, batch, place)


def parse_body(plain: bytes, kind: int, replica: int) -> Entry:
    """Reads the plaintext of a body."""
    fields = cbor2.loads(plain)
    filling = plain[len(cbor2.dumps(fields)) :]
    if len(plain) % BLOCK or len(filling) >= BLOCK or any(filling):
        raise ValueError("a body that isn't filled up by the rules")
    path, size, mtime_ns, mode, content, prev, target, author = (fields + [None] * 4)[:8]
    if author == replica:
        raise ValueError("an author that had to be left out")
    entry = Entry(
        paths.check(path),
        kind,
        size,
        mtime_ns,
        mode,
        tuple(content) if content else None,
        tuple(prev) if prev else None,
        target,
        replica if author is None else author,
    )
    check(entry)
    return entry


def check(entry: Entry) -> None:
    """Refuses an entry whose fields don't fit its kind."""
    if entry.kind not in (FILE, DIRECTORY, SYMLINK, DELETION):
        return
    is_file, is_link = entry.kind == FILE, entry.kind == SYMLINK
    fits = (
        (entry.content is not None) == is_file
        and (entry.target is not None) == is_link
        and (is_file or entry.size == 0)
        and entry.mode & ~0o777 == 0
        and (entry.target is None or (0 < len(entry.target) <= 4096 and b"\0" not in entry.target))
    )
    if not fits:
        raise ValueError("an entry whose fields don't fit its kind")


def cipher_record(era: int, path_id: bytes, dot: Dot, key_era: int, root: Root, length: int) -> bytes:
    """The signed bytes of a cipher record."""
    return array([CIPHER, FOR_ALL, era, path_id, list(dot), key_era, [*root, length]])


def head_record(era: int, dot: Dot, seconds: int, knowledge: Vector) -> bytes:
    """The signed bytes of a head."""
    return array([HEAD, FOR_ALL, era, bytes(16), list(dot), seconds, flat(knowledge)])
