"""Sealed frames: docs/protocol/session.md, "Frames"."""

from __future__ import annotations

from typing import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .noise import nonce

MAX_PLAIN = 262_160
MAX_DATA = 262_144
REKEY, PROOF, HELLO, CONTROL, BULK, PING, PONG, GOODBYE = range(8)
LAST = 1
SKIPPABLE = 128


class Direction:
    """The key and the counter of one direction."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def seal(self, kind: int, plain: bytes) -> bytes:
        """One frame."""
        if len(plain) > MAX_PLAIN:
            raise ValueError("a frame is too long")
        header = len(plain).to_bytes(3, "big") + bytes([kind])
        sealed = AESGCM(self._key).encrypt(self._next(), plain, header)
        if kind == REKEY:
            self._rekey()
        return header + sealed

    def open(self, read: Callable[[int], bytes]) -> tuple[int, bytes]:
        """The next frame that isn't a rekey: its kind and its plaintext. `read` gives exactly so many bytes."""
        while True:
            header = read(4)
            length, kind = int.from_bytes(header[:3], "big"), header[3]
            if length > MAX_PLAIN or (kind == REKEY and length):
                raise ValueError("a frame of a wrong length")
            plain = AESGCM(self._key).decrypt(self._next(), read(length + 16), header)
            if kind != REKEY:
                return kind, plain
            self._rekey()

    def _next(self) -> bytes:
        count = self._count
        self._count += 1
        return nonce(count)

    def _rekey(self) -> None:
        """REKEY of the Noise specification; the counter goes on."""
        self._key = AESGCM(self._key).encrypt(nonce(2**64 - 1), bytes(32), None)[:32]
