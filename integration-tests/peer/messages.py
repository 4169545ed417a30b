"""Control messages: docs/protocol/exchange.md, "Control messages". Only their encoding; `exchange` knows what they mean."""

from __future__ import annotations

from typing import Any

import cbor2

HEAD, ASK, RECORDS, BURST_END, PROGRESS, WHO_HAS, HAVE, ARRIVED, MISSING, ASIDE = range(10)
REQUEST, CANCEL, CONTENTS, BAD_CHUNK = 32, 33, 34, 35
CHUNK, PAGE = 0, 1
MAX_OBJECTS = 1024
MAX_OBJECT = 4 << 20
NOT_HELD = 0xFFFF_FFFF


def encode(number: int, body: list[Any] | bytes) -> bytes:
    """A message; absent fields at the end of a body are left out."""
    while body and body[-1] is None:
        body = body[:-1]
    return cbor2.dumps([number, body])


def decode(data: bytes) -> tuple[int, list[Any]]:
    """The number and the body of a message."""
    number, body = cbor2.loads(data)
    return number, body


def field(body: list[Any], at: int) -> Any:
    """A field that may be left out at the end of a body."""
    return body[at] if at < len(body) else None


def announce(first: dict[int, tuple[int, bool]], group: list[Any]) -> list[Any]:
    """A group with the number of each of its members, by place, and whether its content is held."""
    facts = [first[place] for place in sorted(first)]
    numbers = [number for number, _ in facts]
    steps = [b - a for a, b in zip(numbers, numbers[1:])]
    holds = sum(1 << i for i, (_, held) in enumerate(facts) if held)
    return [numbers[0], [] if all(step == 1 for step in steps) else steps, holds, 0, group]


def announced(item: list[Any]) -> tuple[list[tuple[int, bool]], list[Any]]:
    """The numbers of a group's members and whether they are held, in order of place; and the group."""
    number, steps, holds, contested, group = item
    count = group[1].bit_count()
    numbers = [number]
    for step in steps or [1] * (count - 1):
        numbers.append(numbers[-1] + step)
    if len(numbers) != count or (holds | contested) >> count or min(numbers) < 0:
        raise ValueError("an announcement with other numbers than records")
    return [(n, bool(holds >> i & 1)) for i, n in enumerate(numbers)], group


def dots(ranges: dict[int, list[tuple[int, int]]]) -> list[Any]:
    """Sets of changes: by replica, the first and the last counter of each range, rising and not touching."""
    out: list[Any] = []
    for replica, own in sorted(ranges.items()):
        flat, least = [], 0
        for first, last in own:
            flat += [first - least, last - first]
            least = last + 2
        out += [replica, flat]
    return out


def contents(request: int, numbers: list[int]) -> list[Any]:
    """A question for contents by the receiver's numbers, which rise."""
    flat: list[int] = []
    least, last = 0, -1
    for number in numbers:
        if number == last + 1 and flat:
            flat[-1] += 1
        else:
            least = last + 2 if flat else 0
            flat += [number - least, 0]
        last = number
    return [request, flat]


def numbers_of(body: list[Any]) -> tuple[int, list[int]]:
    """The id of such a question and the numbers."""
    request, flat = body
    numbers: list[int] = []
    least = 0
    for gap, more in zip(flat[::2], flat[1::2], strict=True):
        first = least + gap
        if first < 1 or len(numbers) + more + 1 > MAX_OBJECTS:
            raise ValueError("a question for impossible numbers")
        numbers += range(first, first + more + 1)
        least = first + more + 2
    return request, numbers


Run = tuple[int, int, int]


def held(runs: dict[int, list[Run]]) -> list[Any]:
    """Changes with their numbers: by replica, first and last counter and first number of each run, rising."""
    out: list[Any] = []
    expected = 0
    for replica, own in sorted(runs.items()):
        flat, least = [], 0
        for first, last, number in own:
            flat += [first - least, last - first, number - expected]
            least, expected = last + 1, number + last - first + 1
        out += [replica, flat]
    return out


def held_of(body: list[Any]) -> dict[int, list[Run]]:
    """Reads what `held` writes."""
    runs: dict[int, list[Run]] = {}
    expected = 0
    for replica, flat in zip(body[::2], body[1::2], strict=True):
        own, least = [], 0
        for gap, more, step in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            first, number = least + gap, expected + step
            if first < 1 or number < 1:
                raise ValueError("held changes with impossible numbers")
            own.append((first, first + more, number))
            least, expected = first + more + 1, number + more + 1
        if runs and replica <= max(runs):
            raise ValueError("held changes whose replicas don't rise")
        runs[replica] = own
    return runs


def answer(objects: list[bytes | None]) -> bytes:
    """The bulk answer to a request: for each object its length and its bytes."""
    out = bytearray()
    for data in objects:
        out += (NOT_HELD if data is None else len(data)).to_bytes(4, "big")
        out += data or b""
    return bytes(out)


def split_answer(data: bytes, count: int) -> list[bytes | None]:
    """Reads such an answer of `count` objects."""
    objects: list[bytes | None] = []
    at = 0
    for _ in range(count):
        length = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if length == NOT_HELD:
            objects.append(None)
            continue
        if length > MAX_OBJECT or at + length > len(data):
            raise ValueError("an answer with an object of an impossible length")
        objects.append(data[at : at + length])
        at += length
    if at != len(data):
        raise ValueError("an answer with bytes after its end")
    return objects
