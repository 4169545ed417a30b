"""A small folder on disk: files, and what is known of them, in `.sync/peer.state`.

What it writes is on disk before anybody is told of it, and a file's bytes are whole under their name or not
there at all. It looks at everything anew whenever it is opened.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator

import cbor2

from . import batches, content, paths, reconcile, records
from .keys import READ_WRITE, Keys
from .records import DELETION, DIRECTORY, FILE, SYMLINK, Entry, Record, Vector

RESERVED = b".sync"


@dataclass
class Item:
    """What is known of one path: the record that stands, its number here, and the one that the disk shows."""

    record: Record
    seq: int
    shown: Record | None
    learned_from: bytes = b""

    @property
    def held(self) -> bool:
        """Whether the disk shows the record that stands."""
        return self.shown is not None and self.shown.dot == self.record.dot


def random_number() -> int:
    """A random number of 64 bits that is not 0."""
    return int.from_bytes(os.urandom(8), "big") or 1


class Folder:
    """The files of one folder, and the records of them."""

    def __init__(self, root: Path, keys: Keys) -> None:
        self.root, self.keys = os.fsencode(root), keys
        self.items: dict[bytes, Item] = {}
        self.knowledge: records.Knowledge = {}
        self.pages: dict[bytes, bytes] = {}
        self._chunks: dict[bytes, tuple[bytes, int, int]] = {}
        self._described: dict[bytes, tuple[tuple[int, int], content.Manifest]] = {}
        self._chunker = content.Chunker(keys.chunk_seed)
        os.makedirs(os.path.join(self.root, RESERVED), exist_ok=True)
        self._state = os.path.join(self.root, RESERVED, b"peer.state")
        self.device, self.replica, self.generation = os.urandom(32), random_number(), random_number()
        self.counter = self.seq = 0
        if os.path.exists(self._state):
            self._load()

    def full(self, path: bytes) -> bytes:
        """Where a path lies on disk."""
        return os.path.join(self.root, path)

    def wanted(self) -> list[Item]:
        """What the disk doesn't show yet: parents first, then deletions from below."""
        live = [i for i in self.items.values() if not i.held and i.record.entry.kind != DELETION]
        gone = [i for i in self.items.values() if not i.held and i.record.entry.kind == DELETION]
        live.sort(key=lambda i: paths.walk_key(i.record.entry.path))
        gone.sort(key=lambda i: paths.walk_key(i.record.entry.path), reverse=True)
        return live + gone

    def take(self, record: Record, source: bytes) -> None:
        """Takes in a checked record from a peer."""
        path = record.entry.path
        current = self.items.get(path)
        verdict = reconcile.reconcile(current.record if current else None, record, self.knowledge)
        if verdict == reconcile.TAKE:
            self.seq += 1
            before = current.shown if current else None
            shown = record if self._shows(record.entry) else before
            self.items[path] = Item(record, self.seq, shown, source)

    def merge_knowledge(self, other: records.Knowledge) -> None:
        """Takes in what a writer knows, after all of its records."""
        for replica, ranges in other.items():
            for first, last in ranges:
                records.seen(self.knowledge, replica, first, last)

    def object(self, name: bytes) -> bytes | None:
        """A chunk or a page by its hash, if it is here; checked before it is given."""
        if name in self.pages:
            return self.pages[name]
        if name not in self._chunks:
            return None
        path, offset, length = self._chunks[name]
        try:
            with open(self.full(path), "rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError:
            return None
        return data if content.hash_chunk(data) == name else None

    def holds(self, root: content.Root) -> bool:
        """Whether a file here has this content."""
        return any(i.held and i.record.entry.content == root for i in self.items.values())

    def place(self, item: Item, data: bytes = b"") -> None:
        """Makes the disk show a record; what it would overwrite unasked becomes a conflict copy."""
        entry = item.record.entry
        full = self.full(entry.path)
        self._keep_sibling(item)
        if entry.kind == DELETION:
            if os.path.isdir(full) and not os.path.islink(full):
                os.rmdir(full)
            elif os.path.lexists(full):
                os.unlink(full)
        elif entry.kind == DIRECTORY:
            os.makedirs(full, exist_ok=True)
            os.chmod(full, entry.mode)
        elif entry.kind == SYMLINK and entry.target is not None:
            if os.path.lexists(full):
                os.unlink(full)
            os.symlink(entry.target, full)
        elif entry.kind == FILE:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            self._write(full, data, entry.mode, entry.mtime_ns)
            self.describe(entry.path)
        item.shown = item.record

    def scan(self) -> int:
        """Signs what was made, changed or removed here; how many paths that were."""
        if self.keys.level != READ_WRITE:
            return 0
        found = {entry.path: entry for entry in self._walk()}
        for path, item in self.items.items():
            if item.held and item.record.entry.kind != DELETION and path not in found:
                gone = Entry(path, DELETION, 0, item.record.entry.mtime_ns, 0, None, None, None, self.replica)
                found[path] = replace(gone, prev=item.record.entry.content)
        changed = [entry for entry in found.values() if self._is_news(entry)]
        for start in range(0, len(changed), batches.MAX_BATCH):
            self._author(changed[start : start + batches.MAX_BATCH])
        if changed:
            self.save()
        return len(changed)

    def describe(self, path: bytes) -> content.Manifest:
        """What a file here consists of; its chunks and pages can be served from then on."""
        full = self.full(path)
        info = os.stat(full)
        stamp = (info.st_size, info.st_mtime_ns)
        known = self._described.get(path)
        if known and known[0] == stamp:
            return known[1]
        with open(full, "rb") as file:
            manifest = content.describe(self._chunker.cut(file.read()))
        offset = 0
        for name, length in manifest.chunks:
            self._chunks[name] = (path, offset, length)
            offset += length
        self.pages.update(manifest.pages)
        self._described[path] = (stamp, manifest)
        return manifest

    def save(self) -> None:
        """Makes durable what is known, so that it may be told."""
        known: dict[bytes, tuple[int, batches.Batch]] = {}

        def seat(record: Record | None) -> list[Any] | None:
            if record is None:
                return None
            number, batch = known.setdefault(record.batch.said, (len(known), record.batch))
            batch.hashes.update(record.batch.hashes)
            return [number, record.place, record.signed]

        items = [[seat(i.record), i.seq, seat(i.shown), i.learned_from] for i in self.items.values()]
        proofs = [[b.size, b.signature, [[*r, h] for r, h in b.hashes.items()]] for _, b in known.values()]
        head = [self.device, self.replica, self.generation, self.counter, self.seq]
        state = [head, records.flat_knowledge(self.knowledge), proofs, items]
        self._write(self._state, cbor2.dumps(state), 0o600, None)

    def _load(self) -> None:
        with open(self._state, "rb") as file:
            head, knowledge, proofs, items = cbor2.loads(file.read())
        self.device, self.replica, self.generation, self.counter, self.seq = head
        self.knowledge = records.parse_knowledge(knowledge)
        known = [batches.Batch(size, signature, {(s, n): h for s, n, h in hashes}) for size, signature, hashes in proofs]

        def record_at(seat: list[Any]) -> Record:
            return records.parse(self.keys, seat[2], known[seat[0]], seat[1])

        for seat, seq, shown_seat, source in items:
            record = record_at(seat)
            shown = record_at(shown_seat) if shown_seat else None
            path = record.entry.path
            self.items[path] = Item(record, seq, shown, source)
            if shown and shown.entry.kind == FILE and os.path.isfile(self.full(path)):
                self.describe(path)

    def _keep_sibling(self, item: Item) -> None:
        """Puts a file beside itself that the record to be placed doesn't build on."""
        path = item.record.entry.path
        found = self._entry(path)
        root = found.content if found else None
        if found is None or root is None or not reconcile.is_sibling(item.shown, found, item.record):
            return
        if item.shown and reconcile.same_content(item.shown.entry, found):
            found = replace(found, author=item.shown.entry.author, mtime_ns=item.shown.entry.mtime_ns)
        copy = reconcile.copy_path(path, found.author, found.mtime_ns, root[0])
        os.rename(self.full(path), self.full(copy))
        self.describe(copy)
        if self.keys.level == READ_WRITE:
            self._author([replace(found, path=copy, prev=None)])
            self.save()

    def _author(self, entries: list[Entry]) -> None:
        made: list[tuple[Entry, records.Dot, Vector]] = []
        for entry in entries:
            self.counter += 1
            dot = (self.replica, self.counter)
            past = self.items[entry.path].record.vector if entry.path in self.items else {}
            made.append((entry, dot, {**past, self.replica: self.counter}))
        signed = [records.signed_bytes(self.keys, 0, *one) for one in made]
        batch = batches.sign(self.keys, signed)
        for place, (entry, dot, vector) in enumerate(made):
            self.seq += 1
            record = Record(entry, dot, vector, 0, signed[place], batch, place)
            self.items[record.entry.path] = Item(record, self.seq, record)
            records.seen(self.knowledge, self.replica, record.dot[1], record.dot[1])

    def _is_news(self, entry: Entry) -> bool:
        item = self.items.get(entry.path)
        if item is None:
            return True
        known = item.record.entry
        if not reconcile.same_content(known, entry):
            return item.held
        meta = known.kind == FILE and (known.mtime_ns, known.mode) != (entry.mtime_ns, entry.mode)
        return item.held and (meta or (known.kind == DIRECTORY and known.mode != entry.mode))

    def _shows(self, entry: Entry) -> bool:
        found = self._entry(entry.path)
        if entry.kind == DELETION or found is None:
            return found is None and entry.kind == DELETION
        return reconcile.same_content(found, entry) and (found.mode == entry.mode or entry.kind == SYMLINK)

    def _walk(self) -> Iterator[Entry]:
        for directory, names, files in os.walk(self.root):
            below = os.path.relpath(directory, self.root)
            for name in names + files:
                path = name if below == b"." else os.path.join(below, name)
                entry = self._entry(path) if paths.walk_key(path).split(b"\0")[0] != RESERVED else None
                if entry is not None:
                    yield entry
            if below == b".":
                names[:] = [name for name in names if name != RESERVED]

    def _entry(self, path: bytes) -> Entry | None:
        try:
            info = os.lstat(self.full(path))
        except OSError:
            return None
        mode, prev = stat.S_IMODE(info.st_mode) & 0o777, None
        if path in self.items:
            prev = self.items[path].record.entry.content
        empty = Entry(path, DIRECTORY, 0, info.st_mtime_ns, mode, None, prev, None, self.replica)
        if stat.S_ISDIR(info.st_mode):
            return empty
        if stat.S_ISLNK(info.st_mode):
            return replace(empty, kind=SYMLINK, mode=0, target=os.readlink(self.full(path)))
        if stat.S_ISREG(info.st_mode):
            root = self.describe(path).root
            return replace(empty, kind=FILE, size=info.st_size, content=root)
        return None

    def _write(self, full: bytes, data: bytes, mode: int, mtime_ns: int | None) -> None:
        temporary = os.path.join(self.root, RESERVED, b"peer.temporary")
        with open(temporary, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            if mtime_ns is not None:
                os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
            os.fsync(file.fileno())
        os.rename(temporary, full)
        directory = os.open(os.path.dirname(full), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
