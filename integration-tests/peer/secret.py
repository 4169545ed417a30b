"""Secrets as people type them: docs/protocol/keys.md, "Secrets"."""

from __future__ import annotations

from dataclasses import dataclass

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class SecretError(ValueError):
    """Text that is not a secret. The text itself is never quoted."""


@dataclass(frozen=True)
class ReadWrite:
    """`A…`: the 21 random bytes S."""

    seed: bytes


@dataclass(frozen=True)
class ReadOnly:
    """`B…`: the read secret r and the verifying key."""

    read: bytes
    verifying: bytes


Secret = ReadWrite | ReadOnly


def pack(data: bytes) -> list[int]:
    """The 5-bit values of `data`, high bits first; spare bits of the last one are zero."""
    bits = int.from_bytes(data, "big")
    spare = -len(data) * 8 % 5
    count = (len(data) * 8 + spare) // 5
    bits <<= spare
    return [bits >> 5 * (count - 1 - i) & 31 for i in range(count)]


def unpack(values: list[int], length: int) -> bytes:
    """The reverse of `pack`; refuses spare bits that aren't zero."""
    bits = 0
    for value in values:
        bits = bits << 5 | value
    spare = len(values) * 5 - length * 8
    if not 0 <= spare < 5 or bits & (1 << spare) - 1:
        raise SecretError("spare bits are not zero")
    return (bits >> spare).to_bytes(length, "big")


def check(values: list[int]) -> list[int]:
    """The two check symbols over the values before them: CRC-10, polynomial 0x233, start 0x3ff."""
    register = 0x3FF
    for value in values:
        for bit in (value >> shift & 1 for shift in range(4, -1, -1)):
            top = register >> 9 & 1
            register = register << 1 & 0x3FF
            if top ^ bit:
                register ^= 0x233
    return [register >> 5, register & 31]


def text(letter: str, data: bytes) -> str:
    """The letter of the kind, the data, the check symbols."""
    values = [ALPHABET.index(letter), *pack(data)]
    return "".join(ALPHABET[v] for v in values + check(values))


def reveal(secret: Secret) -> str:
    """The text of a secret."""
    if isinstance(secret, ReadWrite):
        return text("A", secret.seed)
    return text("B", secret.read + secret.verifying)


def parse(typed: str) -> Secret:
    """Reads a secret in any case."""
    symbols = typed.strip().upper()
    if any(symbol not in ALPHABET for symbol in symbols) or not symbols:
        raise SecretError("not Base32")
    values = [ALPHABET.index(symbol) for symbol in symbols]
    lengths = {"A": 21, "B": 53}
    length = lengths.get(symbols[0])
    if length is None:
        raise SecretError("a kind of secret that this peer doesn't know")
    if len(values) != 1 + (length * 8 + 4) // 5 + 2 or check(values[:-2]) != values[-2:]:
        raise SecretError("a symbol is wrong or missing")
    data = unpack(values[1:-2], length)
    return ReadWrite(data) if length == 21 else ReadOnly(data[:21], data[21:])
