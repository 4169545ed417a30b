"""Records and their signatures: docs/protocol/records.md."""

from __future__ import annotations

from dataclasses import dataclass

import cbor2
from blake3 import blake3

from . import paths
from .content import Root
from .keys import Keys

FILE, DIRECTORY, SYMLINK, DELETION = 1, 2, 3, 4
MAX_SHARED = 64

Dot = tuple[int, int]
"""Replica and counter."""
Vector = dict[int, int]
"""The highest counter of each replica."""


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
    """A checked record: what it says, and the bytes to pass on."""

    entry: Entry
    dot: Dot
    vector: Vector
    era: int
    raw: tuple[bytes, bytes]


def flat(vector: Vector) -> list[int]:
    """The array of a vector, replicas rising."""
    return [number for pair in sorted(vector.items()) for number in pair]


def parse_vector(numbers: list[int]) -> Vector:
    """Reads a vector; refuses any other form than the one that `flat` makes."""
    vector = dict(zip(numbers[::2], numbers[1::2]))
    if flat(vector) != numbers or 0 in vector.values():
        raise ValueError("a vector in another form")
    return vector


def body_bytes(entry: Entry) -> bytes:
    """The plaintext of the body."""
    return cbor2.dumps(
        [
            entry.path,
            entry.size,
            entry.mtime_ns,
            entry.mode,
            entry.content,
            entry.prev,
            entry.target,
            entry.author,
        ]
    )


def signed_bytes(keys: Keys, era: int, entry: Entry, dot: Dot, vector: Vector) -> bytes:
    """The bytes that are signed, kept and passed on."""
    fields = [1, era, keys.path_id(entry.path), [list(dot), flat(vector)], entry.kind, None]
    head = bytes([0x87]) + b"".join(cbor2.dumps(field) for field in fields)
    return head + cbor2.dumps(keys.seal(head, body_bytes(entry)))


def leaf(signed: bytes) -> bytes:
    """The leaf of a record."""
    return blake3(b"syncd/1 record leaf" + signed).digest()


def node(left: bytes, right: bytes) -> bytes:
    """An inner node."""
    return blake3(b"syncd/1 record node" + left + right).digest()


def sign(keys: Keys, era: int, entries: list[tuple[Entry, Dot, Vector]]) -> list[Record]:
    """Signs up to `MAX_SHARED` entries together."""
    signed = [signed_bytes(keys, era, *one) for one in entries]
    levels = [[leaf(s) for s in signed]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node(below[i], below[min(i + 1, len(below) - 1)]) for i in range(0, len(below), 2)])
    signature = keys.sign("syncd/1 records", levels[-1][0])
    records = []
    for index, (entry, dot, vector) in enumerate(entries):
        way, at = [], index
        for level in levels[:-1]:
            way.append(level[min(at ^ 1, len(level) - 1)])
            at //= 2
        proof = bytes([index, len(way)]) + b"".join(way) + signature
        records.append(Record(entry, dot, vector, era, (signed[index], proof)))
    return records


def verify(keys: Keys, raw: tuple[bytes, bytes]) -> Record:
    """Checks signature, way, path id and body of a record from outside."""
    signed, proof = raw
    at, steps = proof[0], proof[1]
    if len(proof) != 2 + 32 * steps + 64 or steps > 6:
        raise ValueError("a malformed proof")
    hash_ = leaf(signed)
    for i in range(steps):
        sibling = proof[2 + 32 * i : 34 + 32 * i]
        hash_ = node(sibling, hash_) if at & 1 else node(hash_, sibling)
        at //= 2
    if at or not keys.verify("syncd/1 records", hash_, proof[-64:]):
        raise ValueError("a record that the folder's key didn't sign")
    format_, era, path_id, version, kind, _, sealed = cbor2.loads(signed)
    if format_ != 1:
        raise ValueError("a record of a later format")
    head = signed[: -len(cbor2.dumps(sealed))]
    dot, vector = tuple(version[0]), parse_vector(version[1])
    if vector.get(dot[0], 0) < dot[1] or dot[1] == 0:
        raise ValueError("a version that doesn't cover itself")
    fields = cbor2.loads(keys.open(head, sealed))
    fields += [None] * (8 - len(fields))
    path, size, mtime_ns, mode, content, prev, target, author = fields[:8]
    if keys.path_id(paths.check(path)) != path_id:
        raise ValueError("a record of another path")
    entry = Entry(
        path,
        kind,
        size,
        mtime_ns,
        mode,
        tuple(content) if content else None,
        tuple(prev) if prev else None,
        target,
        author,
    )
    return Record(entry, dot, vector, era, raw)
