"""The greeting: docs/protocol/session.md, "Hello"."""

from __future__ import annotations

from dataclasses import dataclass

import cbor2

VERSION = 2
MAX_HELLO, MAX_NAME = 1024, 64


@dataclass(frozen=True)
class Hello:
    """What a side says about itself once it has proved its level; `device` is a key and a signature by it."""

    lowest: int
    highest: int
    features: int
    boot_nonce: int
    name: str
    port: int
    era: int = 0
    observed: bytes | None = None
    device: tuple[bytes, bytes] = (b"", b"")

    def encode(self) -> bytes:
        """A map with numbered fields, of which only the observed address may be absent."""
        fields = (self.lowest, self.highest, self.features, self.boot_nonce, self.name, self.port)
        fields += (self.era, self.observed, *self.device)
        return cbor2.dumps({n: field for n, field in enumerate(fields) if field is not None})


def decode(data: bytes) -> Hello:
    """Reads a greeting; unknown fields are skipped."""
    if len(data) > MAX_HELLO:
        raise ValueError("a greeting is too long")
    fields = cbor2.loads(data)
    hello = Hello(*(fields[i] for i in range(7)), fields.get(7), (fields[8], fields[9]))
    lengths = [len(part) for part in hello.device]
    if lengths != [32, 64] or hello.observed is not None and len(hello.observed) not in (6, 18):
        raise ValueError("a field has the wrong length")
    if len(hello.name.encode()) > MAX_NAME:
        raise ValueError("a name is too long")
    return hello
