"""The vectors of docs/protocol/later.md."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import keys, messages, net, rotation, secret
from .vectors import folder, vector

ROTATOR, RECEIVER = bytes([10] * 32), bytes([20] * 32)
TOKEN = bytes(range(16))
NEW = secret.ReadWrite(bytes([42] * 21))
INVITER = Ed25519PrivateKey.from_private_bytes(bytes([3] * 32))


def link_message() -> bytes:
    """The rotator's link."""
    old, new = folder(), keys.derive(NEW)
    signer = old.device_signer(ROTATOR)
    identities = [
        rotation.Identity(k.folder_id, keys.raw_public(k.device_signer(ROTATOR)), k.static_public(ROTATOR))
        for k in (old, new)
    ]
    before = identities[0]
    signature = rotation.link(signer, *identities)
    return messages.encode(net.LINK, [before.folder_id, before.sign, before.static, signature])


def pex() -> bytes:
    """Two peers added, one dropped."""
    direct = net.reach(bytes([7] * 32), [("192.0.2.1", 29_170), ("2001:db8::1", 29_170)])
    through = net.reach(bytes([7] * 32), [], bytes([9] * 16))
    return messages.encode(net.PEX, [[direct, through], [bytes([8] * 32)]])


def candidates() -> bytes:
    """Those of the page, sealed."""
    paths = [(net.LOCAL, ("fd00::1", 29_170)), (net.REFLEXIVE, ("203.0.113.9", 40_000))]
    relays = [(("192.0.2.5", 443), bytes([6] * 32))]
    found = net.Candidates(bytes([7] * 32), 1_795_334_400, 3, paths, relays)
    return found.seal(folder().candidates, bytes([1] * 16))


def hand_over() -> bytes:
    """That of the page, sealed."""
    old, given = folder(), keys.to_read_only(NEW)
    made = rotation.HandOver(
        era=2,
        level=keys.READ_ONLY,
        content=given.read + given.verifying,
        chunk_seed=bytes([0, 0, 0, 0, 0, 0, 0, 7]),
        data_keys=[(0, bytes([8] * 32)), (1, bytes([9] * 32))],
        knowledge={3: [(1, 9)], 5: [(1, 70_000)]},
        started=1_795_334_400,
    )
    return made.seal(old, old.device_signer(ROTATOR), old.static_public(RECEIVER), bytes([100] * 32))


def punch(number: int, *fields: bytes) -> bytes:
    """A message of punching."""
    return messages.encode(number, list(fields))


ONE, THREE, NINE = bytes([1] * 16), bytes([3] * 16), bytes([9] * 16)

def register() -> None:
    """Makes them known."""
    vector("keys.candidates")(lambda: folder().candidates)
    vector("keys.device-sign")(lambda: keys.raw_public(folder().device_signer(ROTATOR)))
    vector("net.pex")(pex)
    vector("net.punch-ask")(lambda: punch(net.PUNCH_ASK, ONE, NINE, bytes([2] * 160)))
    vector("net.punch-offer")(lambda: punch(net.PUNCH_OFFER, THREE, bytes([2] * 160)))
    vector("net.punch-answer")(lambda: punch(net.PUNCH_ANSWER, THREE, bytes([4] * 160)))
    vector("net.punch-refused")(lambda: punch(net.PUNCH_ANSWER, THREE))
    vector("net.observed")(lambda: messages.encode(net.OBSERVED, [net.address(("203.0.113.9", 40_000))]))
    observed = messages.encode(net.OBSERVED, [net.address(("203.0.113.9", 40_000))])
    vector("control.peers")(lambda: messages.encode(net.PEERS, observed))
    vector("control.use")(lambda: messages.encode(net.USE, bytes(range(1, 9))))
    vector("control.standby")(lambda: messages.encode(net.STANDBY, b""))
    vector("control.retire")(lambda: messages.encode(net.RETIRE, b""))
    vector("net.link")(link_message)
    vector("candidates.sealed")(candidates)
    vector("hand-over.sealed")(hand_over)
    vector("invitation.text")(lambda: rotation.invitation(TOKEN, keys.raw_public(INVITER)))
    vector("invitation.psk")(lambda: rotation.invitation_key(TOKEN, "noise-psk"))
    vector("invitation.rendezvous-key")(lambda: rotation.invitation_key(TOKEN, "rendezvous-key"))
    vector("invitation.joiner-static")(lambda: rotation.joiner_static(TOKEN, RECEIVER))
    vector("invitation.proof")(lambda: rotation.inviter_proof(INVITER, keys.RESPONDER, bytes([0x5A] * 32)))
