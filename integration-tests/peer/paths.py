"""Which bytes may be a path: docs/protocol/records.md, "Paths"."""

from __future__ import annotations

MAX_PATH, MAX_NAME, MAX_DEPTH = 4096, 255, 128


def is_reserved(name: bytes) -> bool:
    """Whether a first component is the daemon's own directory, in any case folding."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    return text.replace("\u017f", "s").lower() == ".sync"


def check(path: bytes) -> bytes:
    """The path itself if it is one; raises otherwise."""
    parts = path.split(b"/")
    if len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise ValueError("a path is too long or too deep")
    for name in parts:
        if name in (b"", b".", b"..") or b"\0" in name or len(name) > MAX_NAME:
            raise ValueError("a component that can't be one")
    if is_reserved(parts[0]):
        raise ValueError("a reserved name")
    return path


def walk_key(path: bytes) -> bytes:
    """Sorts as a depth-first walk does: a directory, what is in it, its next sibling."""
    return path.replace(b"/", b"\0")
