"""Batches: up to 64 records under one signature. docs/protocol/records.md, "Batches" and "Groups"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable

from blake3 import blake3

from .keys import Keys

MAX_BATCH = 64
MAX_SIGNED = 96 << 10
CONTEXT = "syncd/2 records"

Range = tuple[int, int]
"""The first leaf of a subtree, and how many there are."""


def leaf(signed: bytes) -> bytes:
    """The leaf of a record."""
    return blake3(b"syncd/2 record leaf" + signed).digest()


def node(left: bytes, right: bytes) -> bytes:
    """An inner node."""
    return blake3(b"syncd/2 record node" + left + right).digest()


def split(start: int, count: int) -> tuple[Range, Range]:
    """The two parts of a subtree of more than one leaf (RFC 9162, section 2.1.1)."""
    left = 1 << (count - 1).bit_length() - 1
    return (start, left), (start + left, count - left)


def shape(size: int, places: set[int]) -> list[Range]:
    """The leaves at `places`, and the largest whole subtrees without one of them, left to right."""

    def parts(start: int, count: int) -> list[Range]:
        if count == 1 or not any(start <= place < start + count for place in places):
            return [(start, count)]
        left, right = split(start, count)
        return parts(*left) + parts(*right)

    return parts(0, size)


@dataclass(eq=False)
class Batch:
    """What is known of one signed tree."""

    size: int
    signature: bytes = b""
    hashes: dict[Range, bytes] = field(default_factory=dict)

    def hash(self, start: int, count: int) -> bytes:
        """The hash of a subtree; raises if it can't be told."""
        known = self.hashes.get((start, count))
        if known is None:
            if count == 1:
                raise LookupError("a leaf that isn't known")
            left, right = split(start, count)
            known = node(self.hash(*left), self.hash(*right))
            self.hashes[start, count] = known
        return known

    @property
    def said(self) -> bytes:
        """What is signed: the size and the root."""
        return bytes([self.size]) + self.hash(0, self.size)

    def group(self, members: dict[int, bytes]) -> list[Any]:
        """A group of these members, each the signed bytes of its place."""
        rest = [part for part in shape(self.size, set(members)) if part[1] > 1 or part[0] not in members]
        left_out = b"".join(self.hash(*part) for part in rest)
        present = sum(1 << place for place in members)
        return [self.size, present, left_out, self.signature, [members[place] for place in sorted(members)]]


def sign(keys: Keys, signed: list[bytes]) -> Batch:
    """Signs 1 to `MAX_BATCH` records together."""
    batch = Batch(len(signed), hashes={(i, 1): leaf(one) for i, one in enumerate(signed)})
    batch.signature = keys.sign(CONTEXT, batch.said)
    return batch


def open_group(keys: Keys, group: list[Any]) -> tuple[Batch, dict[int, bytes]]:
    """Checks a group from outside; gives its batch, and its members by their places."""
    size, present, left_out, signature, members = group
    places = [place for place in range(64) if present >> place & 1]
    if not 1 <= size <= MAX_BATCH or not places or places[-1] >= size or len(members) != len(places):
        raise ValueError("a group of an impossible shape")
    if any(len(member) > MAX_SIGNED for member in members):
        raise ValueError("a record that is too long")
    by_place = dict(zip(places, members))
    rest = [part for part in shape(size, set(places)) if part[1] > 1 or part[0] not in by_place]
    if len(left_out) != 32 * len(rest):
        raise ValueError("a group with too many or too few hashes")
    batch = Batch(size, signature)
    batch.hashes = {(place, 1): leaf(member) for place, member in by_place.items()}
    for i, part in enumerate(rest):
        batch.hashes[part] = left_out[32 * i : 32 * i + 32]
    if not keys.verify(CONTEXT, batch.said, signature):
        raise ValueError("a batch that the folder's key didn't sign")
    return batch, by_place


def groups(records: Iterable[tuple[Batch, int, bytes]]) -> list[tuple[Batch, dict[int, bytes]]]:
    """Puts records together by their batches, in order of first appearance."""
    found: dict[bytes, tuple[Batch, dict[int, bytes]]] = {}
    for batch, place, signed in records:
        one, members = found.setdefault(batch.said, (batch, {}))
        one.hashes.update(batch.hashes)
        members[place] = signed
    return list(found.values())
