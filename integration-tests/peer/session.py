"""A session over TCP, from the first byte to whole messages: docs/protocol/session.md.

It owns the socket and the keys. What messages mean is the business of `exchange`.
"""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import dataclass, replace
from typing import Iterator

from . import frames, hello, keys, net, noise

MAX_CONTROL = 1 << 20


@dataclass(frozen=True)
class Control:
    """A whole control message."""

    data: bytes


@dataclass(frozen=True)
class Bulk:
    """A piece of the answer to one of our requests."""

    request: int
    data: bytes
    last: bool


@dataclass(frozen=True)
class Closed:
    """The other side ended the session in good order."""

    code: int


Event = Control | Bulk | Closed


class Session:
    """An established session with one peer in one folder."""

    def __init__(
        self,
        sock: socket.socket,
        folder: keys.Keys,
        device: bytes,
        greeting: hello.Hello,
        initiator: bool = True,
    ) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._parts = bytearray()
        # Frames that were read while waiting, and concern the folder.
        self._ahead: list[tuple[int, bytes]] = []
        shake = noise.Handshake(initiator, folder.psk, folder.static(device), os.urandom(32))
        for turn, length in enumerate(noise.MESSAGES):
            if (turn % 2 == 0) == initiator:
                sock.sendall(shake.write())
            else:
                shake.read(self._read(length))
        self.remote_static = shake.remote_static
        send, receive = shake.split()
        self._out, self._in = frames.Direction(send), frames.Direction(receive)
        role, other = (keys.INITIATOR, keys.RESPONDER)[:: 1 if initiator else -1]
        self.send_frame(frames.PROOF, folder.level_proof(shake.hash, role))
        # A device's name is for members alone, so the greeting waits for the other's proof.
        self.level = folder.check_level_proof(shake.hash, other, self._expect(frames.PROOF))
        address = net.address(sock.getpeername()[:2])
        greeting = replace(greeting, observed=address, device=folder.greet(device, shake.hash, role))
        self.send_frame(frames.HELLO, greeting.encode())
        self.hello = hello.decode(self._expect(frames.HELLO))
        keys.check_greeting(self.hello.device, shake.hash, other)
        self.version = min(greeting.highest, self.hello.highest)
        if self.version < max(greeting.lowest, self.hello.lowest):
            raise ValueError("no version in common")

    @classmethod
    def dial(cls, address: tuple[str, int], folder: keys.Keys, device: bytes, greeting: hello.Hello) -> Session:
        """Connects to a daemon."""
        sock = socket.create_connection(address, timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, folder, device, greeting)

    def send_frame(self, kind: int, plain: bytes) -> None:
        """Sends a frame of any kind, also one that no honest peer would send."""
        self._sock.sendall(self._out.seal(kind, plain))

    def send_control(self, message: bytes) -> None:
        """Sends a control message, in parts if it is long."""
        if len(message) > MAX_CONTROL:
            raise ValueError("a control message is too long")
        for part, last in pieces(message):
            self.send_frame(frames.CONTROL, bytes([last]) + part)

    def send_bulk(self, request: int, data: bytes) -> None:
        """Sends the whole answer to a request."""
        for part, last in pieces(data):
            self.send_frame(frames.BULK, request.to_bytes(4, "big") + bytes([last]) + part)

    def goodbye(self, code: int = 0) -> None:
        """Ends the session in good order."""
        self.send_frame(frames.GOODBYE, code.to_bytes(2, "big"))
        self._sock.close()

    def receive(self) -> Event:
        """The next thing that concerns the folder; pings are answered on the way."""
        while True:
            kind, plain = self._ahead.pop(0) if self._ahead else self._in.open(self._read)
            if kind == frames.PING:
                self.send_frame(frames.PONG, plain)
            elif kind == frames.CONTROL:
                if plain[0] & ~frames.LAST or len(self._parts) + len(plain) - 1 > MAX_CONTROL:
                    raise ValueError("a malformed control frame")
                self._parts += plain[1:]
                if plain[0] & frames.LAST:
                    message, self._parts = bytes(self._parts), bytearray()
                    return Control(message)
            elif kind == frames.BULK:
                if plain[4] & ~frames.LAST:
                    raise ValueError("a malformed bulk frame")
                return Bulk(int.from_bytes(plain[:4], "big"), plain[5:], plain[4] == frames.LAST)
            elif kind == frames.GOODBYE:
                return Closed(int.from_bytes(plain, "big"))
            elif kind != frames.PONG and kind < frames.SKIPPABLE:
                raise ValueError(f"a frame of kind {kind} out of place")

    def is_quiet(self, seconds: float) -> bool:
        """Waits, and says whether the other side said nothing meanwhile; pings and signs of life don't count."""
        until = time.monotonic() + seconds
        while not self._ahead:
            left = max(until - time.monotonic(), 0)
            if not self._buffer and not select.select([self._sock], [], [], left)[0]:
                return True
            kind, plain = self._in.open(self._read)
            if kind == frames.PING:
                self.send_frame(frames.PONG, plain)
            elif kind != frames.PONG:
                self._ahead.append((kind, plain))
        return False

    def _expect(self, kind: int) -> bytes:
        found, plain = self._in.open(self._read)
        if found != kind:
            raise ValueError(f"a frame of kind {found} where {kind} is due")
        return plain

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self._sock.recv(1 << 16)
            if not more:
                raise ConnectionError("the other side closed the connection")
            self._buffer += more
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def pieces(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """`data` in pieces that fit a frame, each with whether it is the last; one empty piece for nothing."""
    starts = range(0, max(len(data), 1), frames.MAX_DATA)
    for start in starts:
        yield data[start : start + frames.MAX_DATA], start == starts[-1]
