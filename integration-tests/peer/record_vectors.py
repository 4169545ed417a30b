"""The vectors of docs/protocol/records.md, and of what the exchange says of records."""

from __future__ import annotations

import cbor2

from . import batches, content, messages, records
from .vectors import folder, vector

REPLICA = 9
HELLO: content.Root = (content.hash_chunk(b"hello"), 0)


def file(number: int) -> bytes:
    """The signed bytes of the file of that number."""
    path = f"d/file {number}".encode()
    entry = records.Entry(path, records.FILE, 5, -1, 0o640, HELLO, None, None, REPLICA)
    dot = (REPLICA, number + 1)
    return records.signed_bytes(folder(), 0, entry, dot, dict([dot]))


def deletion() -> bytes:
    """The signed bytes of the deletion of number 0."""
    when = 1_795_334_400_000_000_000
    entry = records.Entry(b"d/file 0", records.DELETION, 0, when, 0, None, HELLO, None, 3)
    return records.signed_bytes(folder(), 0, entry, (REPLICA, 6), {3: 4, REPLICA: 6})


def group(*places: int) -> list[object]:
    """The members at these places of the batch of five."""
    files = [file(number) for number in range(5)]
    batch = batches.sign(folder(), files)
    opened, members = batches.open_group(folder(), batch.group(dict(enumerate(files))))
    assert opened.said == batch.said and list(members.values()) == files
    return batch.group({place: files[place] for place in places})


def register() -> None:
    """Makes them known."""
    vector("record.file")(lambda: file(0))
    vector("record.deletion")(deletion)
    vector("record.cipher")(
        lambda: records.cipher_record(1, bytes([7] * 16), (REPLICA, 3), 0, (bytes([5] * 32), 1), 70_000)
    )
    vector("record.head")(lambda: records.head_record(1, (REPLICA, 44), 1_800_000_000, {REPLICA: 44}))
    vector("record.group-of-all")(lambda: cbor2.dumps(group(0, 1, 2, 3, 4)))
    vector("record.group-of-two")(lambda: cbor2.dumps(group(0, 2)))
    vector("exchange.arrived")(
        lambda: messages.encode(messages.ARRIVED, messages.dots({9: [(1, 500), (502, 502), (510, 511)], 12: [(7, 7)]}))
    )
    runs = {9: [(1, 500, 1001), (502, 502, 1501), (510, 511, 40)], 12: [(7, 7, 42)]}
    assert messages.held_of(messages.held(runs)) == runs
    vector("exchange.held")(lambda: messages.encode(messages.RECORDS, [3, 1501, [], [], messages.held(runs)]))
    numbers = [*range(1001, 1501), 1502, 1510, 1511]
    assert messages.numbers_of(messages.contents(7, numbers)) == (7, numbers)
    vector("exchange.contents")(lambda: messages.encode(messages.CONTENTS, messages.contents(7, numbers)))
    vector("exchange.bad-chunk")(lambda: messages.encode(messages.BAD_CHUNK, [7, bytes([5] * 32)]))
    vector("record.announcement")(
        lambda: cbor2.dumps(messages.announce({0: (7, True), 2: (9, False)}, group(0, 2)))
    )
