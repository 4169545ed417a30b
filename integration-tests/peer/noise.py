"""The handshake Noise_XXpsk0_25519_AESGCM_SHA256: docs/protocol/session.md, "Handshake"; Noise specification, revision 34."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .keys import mac, raw_public

NAME = b"Noise_XXpsk0_25519_AESGCM_SHA256"
PROLOGUE = b"syncd/1"
MESSAGES = (48, 96, 64)


def nonce(counter: int) -> bytes:
    """Four zero bytes and the counter, high byte first."""
    return bytes(4) + counter.to_bytes(8, "big")


class Handshake:
    """One side of a handshake; `initiator` says which."""

    def __init__(self, initiator: bool, psk: bytes, static: bytes, ephemeral: bytes) -> None:
        self.initiator = initiator
        self._psk = psk
        self._s = X25519PrivateKey.from_private_bytes(static)
        self._e = X25519PrivateKey.from_private_bytes(ephemeral)
        self._re = b""
        self.remote_static = b""
        # The name has exactly 32 bytes, so it is taken as it is.
        self.hash = NAME
        self._ck = NAME
        self._key: bytes | None = None
        self._n = 0
        self._mix_hash(PROLOGUE)

    def write(self) -> bytes:
        """The next message from this side."""
        step = self._step
        out = b"".join(getattr(self, f"_write_{token}")() for token in step)
        return out + self._encrypt(b"")

    def read(self, message: bytes) -> None:
        """Takes the next message of the other side. Raises if it isn't authentic."""
        rest = message
        for token in self._step:
            rest = getattr(self, f"_read_{token}")(rest)
        if self._decrypt(rest):
            raise ValueError("a payload in a handshake message")

    def split(self) -> tuple[bytes, bytes]:
        """The keys of both directions: ours to send, ours to receive."""
        first, second = self._hkdf(b"", 2)
        return (first, second) if self.initiator else (second, first)

    _PATTERN = (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se"))
    _turn = 0

    @property
    def _step(self) -> tuple[str, ...]:
        step = self._PATTERN[self._turn]
        self._turn += 1
        return step

    def _hkdf(self, material: bytes, count: int) -> list[bytes]:
        temp, out = mac(self._ck, material), [b""]
        for i in range(count):
            out.append(mac(temp, out[-1], bytes([i + 1])))
        return out[1:]

    def _mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def _mix_key(self, material: bytes) -> None:
        self._ck, self._key = self._hkdf(material, 2)
        self._n = 0

    def _encrypt(self, plain: bytes) -> bytes:
        assert self._key is not None, "the pattern mixes the psk in first"
        sealed = AESGCM(self._key).encrypt(nonce(self._n), plain, self.hash)
        self._n += 1
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        assert self._key is not None, "the pattern mixes the psk in first"
        plain = AESGCM(self._key).decrypt(nonce(self._n), sealed, self.hash)
        self._n += 1
        self._mix_hash(sealed)
        return plain

    def _dh(self, private: X25519PrivateKey, public: bytes) -> None:
        self._mix_key(private.exchange(X25519PublicKey.from_public_bytes(public)))

    def _write_psk(self) -> bytes:
        self._ck, mixed, self._key = self._hkdf(self._psk, 3)
        self._mix_hash(mixed)
        self._n = 0
        return b""

    def _read_psk(self, rest: bytes) -> bytes:
        self._write_psk()
        return rest

    # With a psk the ephemeral key is mixed into the key as well (section 9.2 of the specification).
    def _write_e(self) -> bytes:
        public = raw_public(self._e)
        self._mix_hash(public)
        self._mix_key(public)
        return public

    def _read_e(self, rest: bytes) -> bytes:
        self._re = rest[:32]
        self._mix_hash(self._re)
        self._mix_key(self._re)
        return rest[32:]

    def _write_s(self) -> bytes:
        return self._encrypt(raw_public(self._s))

    def _read_s(self, rest: bytes) -> bytes:
        self.remote_static = self._decrypt(rest[:48])
        return rest[48:]

    def _write_ee(self) -> bytes:
        self._dh(self._e, self._re)
        return b""

    def _write_es(self) -> bytes:
        if self.initiator:
            self._dh(self._e, self.remote_static)
        else:
            self._dh(self._s, self._re)
        return b""

    def _write_se(self) -> bytes:
        if self.initiator:
            self._dh(self._s, self._re)
        else:
            self._dh(self._e, self.remote_static)
        return b""

    def _read_ee(self, rest: bytes) -> bytes:
        return self._write_ee() + rest

    def _read_es(self, rest: bytes) -> bytes:
        return self._write_es() + rest

    def _read_se(self, rest: bytes) -> bytes:
        return self._write_se() + rest
