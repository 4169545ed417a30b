"""What two peers tell each other: docs/protocol/exchange.md.

One exchange runs over one session until both sides have all of the other.
"""

from __future__ import annotations

from typing import Any

from . import batches, content, messages, records
from .keys import READ_WRITE
from .records import FILE
from .session import Bulk, Closed, Session
from .store import Folder, Item

BATCH = 500
AT_ONCE = 512
BYTES_AT_ONCE = 16 << 20
QUIET = 0.5


class Exchange:
    """The state of one exchange."""

    def __init__(self, session: Session, folder: Folder) -> None:
        self._session, self._folder = session, folder
        self._source = session.remote_static
        self._generation = 0
        self._their_last = self._reached = 0
        self._complete = False
        self._asked_of_us = False
        self._sent = 0
        self._listed: list[Any] | None = None
        self._their_reached, self._their_need = 0, -1
        self._told: list[int] = []
        self._request = 0
        self._asked: list[tuple[int, bytes]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._asked_numbers: list[tuple[int, int]] = []
        self._answer = bytearray()
        self._objects: dict[bytes, bytes] = {}
        self._complained: set[bytes] = set()
        self.fetched_objects = self.fetched_bytes = self.fetched_by_number = 0

    def run(self) -> None:
        """Talks until both sides are at the other's last number and need nothing.

        What the other side places can lead to news of its own, a conflict copy, so it is given a moment.
        """
        folder = self._folder
        self._send(messages.HEAD, [folder.generation, folder.seq, folder.replica])
        while not (self._is_done() and self._session.is_quiet(QUIET)):
            event = self._session.receive()
            if isinstance(event, Closed):
                raise ConnectionError(f"the other side ended the session: {event.code}")
            if isinstance(event, Bulk):
                self._bulk(event)
            else:
                self._message(*messages.decode(event.data))
            self._fetch()
            self._tell()
        self._session.goodbye()

    def _is_done(self) -> bool:
        return (
            self._complete
            and self._reached >= self._their_last
            and not self._folder.wanted()
            and self._asked_of_us
            and self._sent == self._folder.seq
            and self._their_reached >= self._sent
            and self._their_need == 0
        )

    def _send(self, number: int, body: list[Any]) -> None:
        self._session.send_control(messages.encode(number, body))

    def _message(self, number: int, body: list[Any]) -> None:
        folder = self._folder
        if number == messages.HEAD:
            self._generation, self._their_last = body[0], body[1]
            self._send(messages.ASK, [self._generation, 0, None, 0, [], False])
        elif number == messages.ASK:
            self._asked_of_us = True
            self._sent = min(body[1], folder.seq) if body[0] == folder.generation else 0
            # We never forget a deletion: what we tell in order is all that there is to list.
            self._listed = None if body[0] == folder.generation and body[5] else [[], False]
            self._announce()
        elif number == messages.RECORDS:
            after, upto, groups = body[:3]
            if after > self._reached:
                raise ValueError("changes were left out")
            for item in groups:
                self._take(*messages.announced(item))
            self._hold(body[4])
            self._reached = max(self._reached, upto)
            self._their_last = max(self._their_last, upto)
            self._told = []
        elif number == messages.BURST_END:
            self._complete = body[0] <= self._reached
            if self._complete and self._session.level == READ_WRITE:
                folder.merge_knowledge(records.parse_knowledge(body[1]))
            folder.save()
        elif number == messages.PROGRESS:
            self._their_reached, self._their_need = body[0], body[1]
        elif number == messages.WHO_HAS:
            answer = [[root, folder.holds((root[0], root[1])), 0, b""] for root in body]
            self._send(messages.HAVE, answer)
        elif number == messages.REQUEST:
            found = [folder.object(name) for _, name in body[1]]
            self._session.send_bulk(body[0], messages.answer(found))
        elif number == messages.CONTENTS:
            request, numbers = messages.numbers_of(body)
            self._session.send_bulk(request, messages.answer([self._numbered(n) for n in numbers]))

    def _hold(self, body: list[Any]) -> None:
        """Takes in which changes' contents the other side holds, and its numbers for them."""
        wanted = {item.record.dot for item in self._folder.wanted()}
        for replica, runs in messages.held_of(body).items():
            for first, last, number in runs:
                for dot in wanted:
                    if dot[0] == replica and first <= dot[1] <= last:
                        self._numbers[dot] = number + dot[1] - first

    def _numbered(self, number: int) -> bytes | None:
        """The content of a file of one chunk by our number for its newest change."""
        found = [item for item in self._folder.items.values() if item.seq == number and item.held]
        root = found[0].record.entry.content if found else None
        return self._folder.object(root[0]) if root and root[1] == 0 else None

    def _take(self, facts: list[tuple[int, bool]], group: list[Any]) -> None:
        """Takes in the members of a group."""
        batch, members = batches.open_group(self._folder.keys, group)
        for (number, holds), (place, signed) in zip(facts, members.items()):
            self._their_last = max(self._their_last, number)
            try:
                record = records.parse(self._folder.keys, signed, batch, place)
            except records.Later:
                continue
            if holds:
                self._numbers[record.dot] = number
            self._folder.take(record, self._source)

    def _announce(self) -> None:
        """Tells all that we learned from others than this peer, or made, since the number it has."""
        folder = self._folder
        news = sorted((i for i in folder.items.values() if i.seq > self._sent), key=lambda i: i.seq)
        news = [i for i in news if i.learned_from != self._source]
        for start in range(0, len(news), BATCH):
            some = news[start : start + BATCH]
            facts = {(i.record.batch.said, i.record.place): (i.seq, i.held) for i in some}
            together = batches.groups((i.record.batch, i.record.place, i.record.signed) for i in some)
            said = [
                messages.announce({place: facts[batch.said, place] for place in members}, batch.group(members))
                for batch, members in together
            ]
            self._send(messages.RECORDS, [self._sent, some[-1].seq, said, [], []])
            self._sent = some[-1].seq
        if self._sent < folder.seq:
            self._send(messages.RECORDS, [self._sent, folder.seq, [], [], []])
            self._sent = folder.seq
        self._send(messages.BURST_END, [self._sent, records.flat_knowledge(folder.knowledge), self._listed])
        self._listed = None

    def _tell(self) -> None:
        """Says how far we are, when it changed."""
        if self._asked_of_us and self._sent < self._folder.seq:
            self._announce()
        need = self._folder.wanted()
        now = [self._reached, len(need), sum(i.record.entry.size for i in need)]
        if now != self._told and self._generation:
            self._told = now
            self._send(messages.PROGRESS, now)

    def _fetch(self) -> None:
        """Places what is there, and asks for what is missing, once a burst is whole."""
        if not self._complete or self._asked:
            return
        ask: dict[tuple[int, bytes], int] = {}
        numbered: dict[tuple[int, bytes], tuple[int, int]] = {}
        for item in self._folder.wanted():
            missing = self._missing(item)
            if not missing:
                self._place(item)
            for name, length in missing.items():
                if len(ask) < AT_ONCE and sum(ask.values()) < BYTES_AT_ONCE:
                    ask[name] = length
                    root = item.record.entry.content
                    if item.record.dot in self._numbers and root and root[1] == 0:
                        numbered[name] = item.record.dot
        self._folder.save()
        if numbered:
            self._request += 1
            self._asked = sorted(numbered, key=lambda name: self._numbers[numbered[name]])
            self._asked_numbers = [numbered[name] for name in self._asked]
            numbers = [self._numbers[dot] for dot in self._asked_numbers]
            self._send(messages.CONTENTS, messages.contents(self._request, numbers))
        elif ask:
            self._request += 1
            self._asked = list(ask)
            self._send(messages.REQUEST, [self._request, [list(one) for one in self._asked]])

    def _object(self, name: bytes) -> bytes | None:
        return self._objects.get(name) or self._folder.object(name)

    def _missing(self, item: Item) -> dict[tuple[int, bytes], int]:
        """The objects that a file lacks, with about their bytes; pages before the chunks they list."""
        entry = item.record.entry
        missing: dict[tuple[int, bytes], int] = {}
        if entry.kind != FILE or entry.content is None:
            return missing

        def page(name: bytes, height: int) -> bytes:
            data = self._object(name)
            if data is None:
                missing[messages.PAGE, name] = content.MAX_PAGE
                raise LookupError
            if content.hash_page(height, data) != name:
                raise ValueError("a page that isn't the one asked for")
            return data

        try:
            for name, length in content.walk(entry.content, entry.size, page):
                if self._object(name) is None:
                    missing[messages.CHUNK, name] = length
        except LookupError:
            pass
        return missing

    def _place(self, item: Item) -> None:
        entry, data = item.record.entry, b""
        if entry.kind == FILE and entry.content is not None:
            names = content.walk(entry.content, entry.size, lambda name, _: self._object(name) or b"")
            data = b"".join(self._object(name) or b"" for name, _ in names)
            if len(data) != entry.size:
                raise ValueError("a file whose chunks don't add up to its size")
        self._folder.place(item, data)

    def _bulk(self, piece: Bulk) -> None:
        if piece.request != self._request or not self._asked:
            return
        self._answer += piece.data
        if not piece.last:
            return
        objects = messages.split_answer(bytes(self._answer), len(self._asked))
        # By number each is asked for once: what isn't there any more may still be had by its hash.
        for dot in self._asked_numbers:
            del self._numbers[dot]
        by_number, self._asked_numbers = bool(self._asked_numbers), []
        for (kind, name), data in zip(self._asked, objects):
            if by_number:
                if data is None or content.hash_chunk(data) != name:
                    continue
                self.fetched_by_number += 1
            if data is None:
                raise LookupError("the other side doesn't hold what it announced")
            # A page's hash covers its height, which is known only where the page is named.
            if kind == messages.CHUNK and content.hash_chunk(data) != name:
                if name in self._complained:
                    raise ValueError("a chunk that isn't the one asked for")
                # It may have been read from a file that changed under its stat; it is asked for once more.
                self._complained.add(name)
                self._send(messages.BAD_CHUNK, [piece.request, name])
                continue
            self._objects[name] = data
            self.fetched_objects += 1
            self.fetched_bytes += len(data)
        self._asked, self._answer = [], bytearray()
