"""The greeting: docs/protocol/session.md, "Hello"."""

from __future__ import annotations

from dataclasses import dataclass

import cbor2

VERSION = 2
MAX_HELLO, MAX_NAME = 1024, 64


@dataclass(frozen=True)
class Hello:
    """What a side says about itself once it has proved its level."""

    lowest: int
    highest: int
    features: int
    boot_nonce: int
    name: str
    port: int

    def encode(self) -> bytes:
        """A map with numbered fields, all of them present."""
        fields = (self.lowest, self.highest, self.features, self.boot_nonce, self.name, self.port)
        return cbor2.dumps(dict(enumerate(fields)))


def decode(data: bytes) -> Hello:
    """Reads a greeting; unknown fields are skipped."""
    if len(data) > MAX_HELLO:
        raise ValueError("a greeting is too long")
    fields = cbor2.loads(data)
    hello = Hello(*(fields[i] for i in range(6)))
    if len(hello.name.encode()) > MAX_NAME:
        raise ValueError("a name is too long")
    return hello
