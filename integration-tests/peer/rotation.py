"""Hand-overs, links, invitations: docs/protocol/later.md."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from . import net, secret
from .keys import Keys, hkdf, raw_public, with_context
from .records import Knowledge, flat_knowledge

INVITER, JOINER = 9, 8


@dataclass(frozen=True)
class HandOver:
    """What a kept device is given; `level` and `content` are those of the new secret."""

    era: int
    level: int
    content: bytes
    chunk_seed: bytes
    data_keys: list[tuple[int, bytes]]
    knowledge: Knowledge
    started: int

    def seal(self, old: Keys, rotator: Ed25519PrivateKey, receiver: bytes, ephemeral: bytes) -> bytes:
        """Seals it for a device of the old folder."""
        fields = [1, self.era, self.level, self.content, self.chunk_seed, [list(k) for k in self.data_keys]]
        content = cbor2.dumps([*fields, flat_knowledge(self.knowledge), raw_public(rotator), self.started])
        by_folder = old.sign("syncd/2 rotation", content)
        by_device = rotator.sign(with_context("syncd/2 rotation", content))
        private = X25519PrivateKey.from_private_bytes(ephemeral)
        public, shared = raw_public(private), private.exchange(X25519PublicKey.from_public_bytes(receiver))
        key = hkdf(b"syncd/2 hand-over", shared + old.psk, public + receiver, 32)
        plain = cbor2.dumps([content, by_folder, by_device])
        return public + net.seal_once(key, old.folder_id + receiver, plain)


@dataclass(frozen=True)
class Identity:
    """A device in one folder."""

    folder_id: bytes
    sign: bytes
    static: bytes

    def bytes(self) -> bytes:
        """What is signed of it."""
        return self.folder_id + self.sign + self.static


def link(signer: Ed25519PrivateKey, old: Identity, new: Identity) -> bytes:
    """The signature of a link, by the old device key."""
    return signer.sign(with_context("syncd/2 device link", old.bytes() + new.bytes()))


def invitation(token: bytes, key: bytes) -> str:
    """The text of an invitation."""
    return secret.text("C", token + hashlib.sha256(key).digest()[:16])


def invitation_key(token: bytes, label: str) -> bytes:
    """A key under which the two sides of an invitation meet."""
    return hkdf(b"syncd/2 invitation", token, f"syncd/1 {label}".encode(), 32)


def joiner_static(token: bytes, device: bytes) -> bytes:
    """The joiner's X25519 private key."""
    info = b"syncd/1 noise-static" + hashlib.sha256(token).digest()
    return hkdf(b"syncd/1 device", device, info, 32)


def inviter_proof(signer: Ed25519PrivateKey, role: int, handshake_hash: bytes) -> bytes:
    """What the inviter sends in place of a proof of level."""
    statement = bytes([role]) + handshake_hash
    return bytes([INVITER]) + raw_public(signer) + signer.sign(with_context("syncd/2 invitation", statement))
