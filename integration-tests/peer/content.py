"""Chunks, manifests, content roots: docs/protocol/content.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Iterator

from blake3 import blake3

PAGE_VERSION = 1
MAX_PAGE = 4096
MIN_ENTRIES = 16
MAX_HEIGHT = 8
LEAF, INNER = 36, 44
MAX_CHUNK = 4 << 20

Root = tuple[bytes, int]
"""Hash and height."""


def hash_chunk(data: bytes) -> bytes:
    """The name of a chunk."""
    return blake3(data).digest()


def hash_page(height: int, page: bytes) -> bytes:
    """The name of a page."""
    return blake3(bytes([height]) + page, derive_key_context="syncd/1 manifest page").digest()


EMPTY: Root = (hash_chunk(b""), 0)


def average_for(size: int) -> int:
    """The average length of chunks, by the size of the file alone."""
    if size < 1 << 30:
        return 64 << 10
    return 256 << 10 if size < 16 << 30 else 1 << 20


def gear_table(seed: bytes) -> list[int]:
    """256 numbers from the folder's chunk seed."""
    stream = blake3(seed, derive_key_context="syncd/1 gear table").digest(length=2048)
    return [int.from_bytes(stream[i : i + 8], "big") for i in range(0, 2048, 8)]


class Chunker:
    """FastCDC (2020), normalisation level 1."""

    def __init__(self, seed: bytes) -> None:
        self._gear = gear_table(seed)

    def cut(self, data: bytes, average: int | None = None) -> list[bytes]:
        """All chunks of a file."""
        average = average or average_for(len(data))
        chunks, start = [], 0
        while start < len(data):
            end = start + self._length(data, start, average)
            chunks.append(data[start:end])
            start = end
        return chunks

    def _length(self, data: bytes, start: int, average: int) -> int:
        least, most = average // 4, average * 4
        rest = len(data) - start
        if rest <= least:
            return rest
        bits = average.bit_length() - 1
        limit = min(rest, most)
        centre = min(limit, average)
        gear, h = self._gear, 0
        for lo, hi, ones in ((least, centre, bits + 1), (centre, limit, bits - 1)):
            mask = ((1 << ones) - 1) << (63 - ones)
            for at, byte in enumerate(data[start + lo : start + hi], lo):
                # Only the low 63 bits are ever looked at; the number is cut to 64 as the rule says.
                h = (h << 1) + gear[byte] & 0xFFFF_FFFF_FFFF_FFFF
                if not h & mask:
                    return at
        return limit


@dataclass
class Manifest:
    """What a file consists of."""

    root: Root
    pages: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[tuple[bytes, int]] = field(default_factory=list)


def ends(entry: bytes, count: int) -> bool:
    """Whether a page ends after this entry when it is the `count`th."""
    return count == (MAX_PAGE - 1) // len(entry) or (count >= MIN_ENTRIES and entry[31] & 0x3F == 0)


def paginate(entries: list[bytes]) -> list[list[bytes]]:
    """Entries of one height, cut into pages."""
    pages: list[list[bytes]] = [[]]
    for entry in entries:
        if pages[-1] and ends(pages[-1][-1], len(pages[-1])):
            pages.append([])
        pages[-1].append(entry)
    return pages


def sums(entries: list[bytes]) -> tuple[int, int]:
    """Bytes and chunks below the entries of a page."""
    if len(entries[0]) == LEAF:
        return sum(int.from_bytes(e[32:], "big") for e in entries), len(entries)
    return (
        sum(int.from_bytes(e[32:40], "big") for e in entries),
        sum(int.from_bytes(e[40:], "big") for e in entries),
    )


def describe(chunks: list[bytes]) -> Manifest:
    """The manifest of a file cut into these chunks."""
    named = [(hash_chunk(chunk), len(chunk)) for chunk in chunks]
    if len(named) < 2:
        return Manifest((named[0][0], 0) if named else EMPTY, {}, named)
    pages: dict[bytes, bytes] = {}
    entries, height = [h + n.to_bytes(4, "big") for h, n in named], 0
    while True:
        height += 1
        above = []
        for group in paginate(entries):
            page = bytes([PAGE_VERSION]) + b"".join(group)
            name = hash_page(height, page)
            pages[name] = page
            size, count = sums(group)
            above.append(name + size.to_bytes(8, "big") + count.to_bytes(4, "big"))
        if len(above) == 1:
            return Manifest((above[0][:32], height), pages, named)
        entries = above


def parse_page(page: bytes, height: int) -> list[bytes]:
    """The entries of a page whose hash was checked."""
    width = LEAF if height == 1 else INNER
    body = page[1:]
    if len(page) > MAX_PAGE or page[0] != PAGE_VERSION or not body or len(body) % width:
        raise ValueError("a malformed page")
    entries = [body[i : i + width] for i in range(0, len(body), width)]
    if any(ends(entry, i + 1) for i, entry in enumerate(entries[:-1])):
        raise ValueError("a page goes on after its end")
    return entries


def walk(root: Root, size: int, page: Callable[[bytes, int], bytes]) -> Iterator[tuple[bytes, int]]:
    """The chunks of a file in order, each as hash and length; `page` gives a page by hash and height."""
    name, height = root
    if height == 0:
        if size:
            yield name, size
        return
    for entry in parse_page(page(name, height), height):
        length = int.from_bytes(entry[32 : 36 if height == 1 else 40], "big")
        if height == 1:
            if not 0 < length <= MAX_CHUNK:
                raise ValueError("a chunk of an impossible length")
            yield entry[:32], length
        else:
            yield from walk((entry[:32], height - 1), length, page)
