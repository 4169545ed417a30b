"""All keys of a folder, from its secret: docs/protocol/keys.md, "Keys"."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .secret import ReadOnly, ReadWrite, Secret

READ_WRITE, READ_ONLY = 1, 2
INITIATOR, RESPONDER = 1, 2


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 of the parts, one after the other."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    prk, block, out, count = mac(salt, secret), b"", b"", 1
    while len(out) < length:
        block = mac(prk, block, info, bytes([count]))
        out, count = out + block, count + 1
    return out[:length]


def with_context(context: str, message: bytes) -> bytes:
    """What is signed for a purpose."""
    name = context.encode()
    return len(name).to_bytes(8, "big") + name + message


def raw_public(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@dataclass(frozen=True)
class Keys:
    """What a read-write or read-only secret gives."""

    level: int
    signing: Ed25519PrivateKey | None
    verifying: bytes
    read: bytes
    folder_id: bytes
    psk: bytes
    lan: bytes
    probe: bytes
    rendezvous_key: bytes
    candidates: bytes
    name: bytes
    meta: bytes
    level_key: bytes
    chunk_seed: bytes

    def rendezvous(self, day: int) -> bytes:
        """Under which id members meet on a UTC day."""
        return hashlib.sha256(b"syncd/1 rendezvous" + self.rendezvous_key + day.to_bytes(8, "big")).digest()

    def static(self, device: bytes) -> bytes:
        """The X25519 private key of a device in this folder."""
        return hkdf(b"syncd/1 device", device, b"syncd/1 noise-static" + self.folder_id, 32)

    def device_signer(self, device: bytes) -> Ed25519PrivateKey:
        """What a device signs with in this folder."""
        seed = hkdf(b"syncd/1 device", device, b"syncd/1 device-sign" + self.folder_id, 32)
        return Ed25519PrivateKey.from_private_bytes(seed)

    def greet(self, device: bytes, hash_: bytes, role: int) -> tuple[bytes, bytes]:
        """A device's key in this folder, and what shows in a greeting that it holds it."""
        signer = self.device_signer(device)
        return raw_public(signer), signer.sign(with_context("syncd/2 hello", bytes([role]) + hash_))

    def static_public(self, device: bytes) -> bytes:
        """The X25519 key by which peers know a device."""
        return raw_public(X25519PrivateKey.from_private_bytes(self.static(device)))

    def path_id(self, path: bytes) -> bytes:
        """The name of a path for those who must not read it."""
        return mac(self.name, path)[:16]

    def sign(self, context: str, message: bytes) -> bytes:
        """A signature for a purpose."""
        if self.signing is None:
            raise PermissionError("a read-only secret can't sign")
        return self.signing.sign(with_context(context, message))

    def verify(self, context: str, message: bytes, signature: bytes) -> bool:
        """Whether the folder's key signed this for that purpose."""
        try:
            Ed25519PublicKey.from_public_bytes(self.verifying).verify(signature, with_context(context, message))
        except InvalidSignature:
            return False
        return True

    def seal(self, aad: bytes, plain: bytes) -> bytes:
        """The ciphertext of a record's body: the same for whoever seals it."""
        return AESGCMSIV(self.meta).encrypt(bytes(12), plain, aad)

    def open(self, aad: bytes, sealed: bytes) -> bytes:
        """The plaintext of a body."""
        try:
            return AESGCMSIV(self.meta).decrypt(bytes(12), sealed, aad)
        except InvalidTag as error:
            raise ValueError("the body doesn't belong to this record") from error

    def level_proof(self, handshake_hash: bytes, role: int) -> bytes:
        """What shows the other side what we may do."""
        statement = bytes([role]) + handshake_hash
        if self.signing is not None:
            return bytes([READ_WRITE]) + self.sign("syncd/1 level", statement)
        return bytes([READ_ONLY]) + mac(self.level_key, statement)

    def check_level_proof(self, handshake_hash: bytes, role: int, proof: bytes) -> int:
        """The level that the other side, of that role, has proved."""
        statement = bytes([role]) + handshake_hash
        if proof[:1] == bytes([READ_WRITE]) and self.verify("syncd/1 level", statement, proof[1:]):
            return READ_WRITE
        if proof == bytes([READ_ONLY]) + mac(self.level_key, statement):
            return READ_ONLY
        raise ValueError("the other side proves nothing")


def derive(secret: Secret) -> Keys:
    """The way from a secret to all keys."""
    signing: Ed25519PrivateKey | None = None
    if isinstance(secret, ReadWrite):
        seed = hkdf(b"syncd/1 secret", secret.seed, b"syncd/1 write-sign", 32)
        signing = Ed25519PrivateKey.from_private_bytes(seed)
        read = hkdf(b"syncd/1 secret", secret.seed, b"syncd/1 read-secret", 21)
        verifying = raw_public(signing)
    else:
        read, verifying = secret.read, secret.verifying
    net_secret = hkdf(b"syncd/1 read", read, b"syncd/1 net-secret", 21)

    def net(label: str) -> bytes:
        return hkdf(b"syncd/1 net", net_secret + verifying, f"syncd/1 {label}".encode(), 32)

    def content(label: str, length: int = 32) -> bytes:
        return hkdf(b"syncd/1 content", read + verifying, f"syncd/1 {label}".encode(), length)

    return Keys(
        level=READ_ONLY if signing is None else READ_WRITE,
        signing=signing,
        verifying=verifying,
        read=read,
        folder_id=hashlib.sha256(b"syncd/1 folder-id" + verifying).digest(),
        psk=net("noise-psk"),
        lan=net("lan"),
        probe=net("probe"),
        rendezvous_key=net("rendezvous-key"),
        candidates=hkdf(b"syncd/1 net", net_secret + verifying, b"syncd/2 candidates", 32),
        name=content("name"),
        meta=hkdf(b"syncd/1 content", read + verifying, b"syncd/2 meta", 32),
        level_key=content("level-read-only"),
        chunk_seed=content("chunk-seed", 8),
    )


def check_greeting(device: tuple[bytes, bytes], hash_: bytes, role: int) -> None:
    """Refuses a greeting whose sender doesn't hold the key that it names."""
    key, signature = device
    signed = with_context("syncd/2 hello", bytes([role]) + hash_)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature as error:
        raise ValueError("the other side doesn't hold its device's key") from error


def to_read_only(secret: Secret) -> ReadOnly:
    """The read-only secret of the same folder."""
    keys = derive(secret)
    return ReadOnly(keys.read, keys.verifying)
