"""Which of two versions of a path stays: docs/protocol/reconciling.md."""

from __future__ import annotations

import base64
from datetime import datetime, timezone

from . import paths
from .records import DELETION, DIRECTORY, FILE, SYMLINK, Entry, Knowledge, Record, Vector

KNOWN, IGNORE, TAKE, DELETED = "known", "ignore", "take", "deleted"
SUFFIX = 43


def covers(vector: Vector, dot: tuple[int, int]) -> bool:
    """Whether a vector covers a change."""
    return vector.get(dot[0], 0) >= dot[1]


def same_content(a: Entry, b: Entry) -> bool:
    """The same kind, bytes and link text; time and mode don't count."""
    return (a.kind, a.content, a.target) == (b.kind, b.content, b.target)


def replaces(newer: Entry, older: Entry) -> bool:
    """Whether `newer` names the content of `older` as what it replaced."""
    return newer.kind != DELETION and older.kind == FILE and newer.prev is not None and newer.prev == older.content


def rank(record: Record) -> tuple[object, ...]:
    """Of two concurrent states the one of the greater rank keeps the name."""
    entry = record.entry
    order = {DELETION: 0, SYMLINK: 1, FILE: 2, DIRECTORY: 3}
    return (
        entry.kind != DELETION,
        entry.kind == DIRECTORY,
        entry.mtime_ns,
        order.get(entry.kind, 4 + entry.kind),
        entry.content or (b"", -1),
        entry.target or b"",
        entry.mode,
        record.dot,
    )


def is_seen(knowledge: Knowledge, dot: tuple[int, int]) -> bool:
    """Whether a change was seen."""
    return any(first <= dot[1] <= last for first, last in knowledge.get(dot[0], []))


def reconcile(current: Record | None, remote: Record, knowledge: Knowledge) -> str:
    """What becomes of a record from outside."""
    if current is None:
        return DELETED if is_seen(knowledge, remote.dot) else TAKE
    if current.dot == remote.dot:
        return KNOWN
    if covers(remote.vector, current.dot):
        return TAKE
    if covers(current.vector, remote.dot):
        return IGNORE
    if not same_content(current.entry, remote.entry):
        ours, theirs = replaces(current.entry, remote.entry), replaces(remote.entry, current.entry)
        if ours != theirs:
            return IGNORE if ours else TAKE
    return TAKE if rank(remote) > rank(current) else IGNORE


def is_sibling(shown: Record | None, found: Entry, record: Record) -> bool:
    """Whether what stands on disk is a version of its own that `record` doesn't build on."""
    described = shown is not None and same_content(shown.entry, found)
    before = described and shown is not None and covers(record.vector, shown.dot)
    return not (before or same_content(found, record.entry) or replaces(record.entry, found))


def base32(data: bytes) -> str:
    """Base32 of RFC 4648, unpadded."""
    return base64.b32encode(data).decode().rstrip("=")


def copy_path(path: bytes, author: int, mtime_ns: int, content: bytes) -> bytes:
    """The name of the conflict copy of a file with this content hash."""
    when = datetime.fromtimestamp(mtime_ns // 10**9, timezone.utc)
    replica = base32(author.to_bytes(8, "big"))[:6]
    suffix = f" (conflict {replica} {when:%Y-%m-%d %H-%M-%S} {base32(content[:3])[:4]})".encode()
    parent, slash, name = path.rpartition(b"/")
    dot = name.rfind(b".")
    stem, extension = (name[:dot], name[dot:]) if dot > 0 else (name, b"")
    room = paths.MAX_NAME - len(suffix)
    if len(extension) > room // 2:
        stem, extension = name, b""
    stem = cut(strip_suffix(stem), room - len(extension))
    copy = stem + suffix + extension
    try:
        return paths.check(parent + slash + copy)
    except ValueError:
        return paths.check(copy)


def strip_suffix(stem: bytes) -> bytes:
    """The stem without the suffixes of earlier conflicts."""
    while len(stem) > SUFFIX and stem[-SUFFIX:].startswith(b" (conflict ") and stem.endswith(b")"):
        stem = stem[:-SUFFIX]
    return stem


def cut(stem: bytes, room: int) -> bytes:
    """At most `room` bytes, not cut inside a UTF-8 character."""
    if len(stem) <= room:
        return stem
    while room and stem[room] & 0xC0 == 0x80:
        room -= 1
    return stem[:room]
