"""Messages about peers, and sealed candidates: docs/protocol/later.md."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .keys import hkdf

PEX, PUNCH_ASK, PUNCH_OFFER, PUNCH_ANSWER, OBSERVED, HAND_OVER, LINK = range(7)
PEERS, USE, STANDBY, RETIRE = range(64, 68)
LOCAL, REFLEXIVE, MAPPED, ADVERTISED = range(4)
PAD = 128

Address = tuple[str, int]


def address(where: Address) -> bytes:
    """IP address and port."""
    return ipaddress.ip_address(where[0]).packed + where[1].to_bytes(2, "big")


def reach(key: bytes, addresses: list[Address], handle: bytes | None = None) -> list[object]:
    """How a peer can be reached, as Pex says it."""
    fields: list[object] = [key, [address(a) for a in addresses]]
    return [*fields, handle] if handle else fields


def seal_once(key: bytes, aad: bytes, plain: bytes) -> bytes:
    """Seals under a key that is used for this message alone."""
    return AESGCM(key).encrypt(bytes(12), plain, aad)


def open_once(key: bytes, aad: bytes, sealed: bytes) -> bytes:
    """Opens it again."""
    return AESGCM(key).decrypt(bytes(12), sealed, aad)


@dataclass(frozen=True)
class Candidates:
    """All ways to one device."""

    key: bytes
    issued: int
    attempt: int
    paths: list[tuple[int, Address]]
    relays: list[tuple[Address, bytes]]

    def seal(self, folder_key: bytes, salt: bytes) -> bytes:
        """Seals them under the folder's candidates key; `salt` is fresh and random."""
        paths = [[kind, address(where)] for kind, where in self.paths]
        relays = [[address(where), token] for where, token in self.relays]
        plain = cbor2.dumps([self.key, self.issued, self.attempt, paths, relays])
        plain += bytes(-len(plain) % PAD)
        return salt + seal_once(hkdf(b"syncd/2 candidates", folder_key, salt, 32), b"", plain)
