"""Derives every vector of the protocol's pages, each by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

from . import content, frames, hello, keys, net, noise, reconcile, secret

SEED = secret.ReadWrite(bytes(range(21)))
SERIES: dict[str, Callable[[], str]] = {}


def documented(docs: Path) -> Iterator[tuple[str, str]]:
    """The vectors of all pages: lines `name = value` in blocks of the kind `vectors`."""
    for page in [docs / "PROTOCOL.md", *sorted((docs / "protocol").glob("*.md"))]:
        for block in page.read_text(encoding="utf-8").split("```vectors\n")[1:]:
            for line in block.split("```")[0].splitlines():
                if line and not line.startswith("#"):
                    name, value = line.split(" = ")
                    yield name, value


def vector(name: str) -> Callable[[Callable[[], bytes | str]], None]:
    """Makes a function the one that derives the vector `name`."""

    def register(derive: Callable[[], bytes | str]) -> None:
        def value() -> str:
            found = derive()
            return found if isinstance(found, str) else found.hex()

        SERIES[name] = value

    return register


def folder() -> keys.Keys:
    """The keys that most vectors are about."""
    return keys.derive(SEED)


def noise_bytes() -> bytes:
    """A mebibyte of SplitMix64 (Steele, Lea and Flood, 2014) from state 0."""
    state, out, full = 0, bytearray(), (1 << 64) - 1
    while len(out) < 1 << 20:
        state = state + 0x9E37_79B9_7F4A_7C15 & full
        z = (state ^ state >> 30) * 0xBF58_476D_1CE4_E5B9 & full
        z = (z ^ z >> 27) * 0x94D0_49BB_1331_11EB & full
        out += (z ^ z >> 31).to_bytes(8, "big")
    return bytes(out)


def content_root(seed: int, average: int | None = None) -> str:
    """The content root of that noise, as height and hash."""
    chunks = content.Chunker(seed.to_bytes(8, "big")).cut(noise_bytes(), average)
    name, height = content.describe(chunks).root
    return f"{height}:{name.hex()}"


def first_chunks() -> list[bytes]:
    """How the first 4,096 bytes of that noise are cut with seed 1 and an average of 256."""
    return content.Chunker((1).to_bytes(8, "big")).cut(noise_bytes()[:4096], 256)


def lan_tag(*parts: bytes) -> bytes:
    """The tag of a beacon under the key 00 … 1f."""
    return keys.mac(bytes(range(32)), b"syncd/lan/v1", *parts)[:8]


def transcript() -> tuple[list[bytes], bytes, tuple[bytes, bytes]]:
    """The messages of the handshake of the page, its hash, and the initiator's keys."""
    shared = keys.derive(secret.ReadWrite(bytes([42] * 21)))
    a = noise.Handshake(True, shared.psk, shared.static(bytes([10] * 32)), bytes([100] * 32))
    b = noise.Handshake(False, shared.psk, shared.static(bytes([20] * 32)), bytes([200] * 32))
    said = []
    for speaker, listener in ((a, b), (b, a), (a, b)):
        said.append(speaker.write())
        listener.read(said[-1])
    assert a.hash == b.hash and a.split() == b.split()[::-1]
    return said, a.hash, a.split()


NONCE, ASKED, PORT = bytes(range(0xA0, 0xB0)), bytes(range(0xB0, 0xC0)), (29_170).to_bytes(2, "big")

vector("secret.read-write")(lambda: secret.reveal(SEED))
vector("secret.read-only")(lambda: secret.reveal(keys.to_read_only(SEED)))
vector("keys.verifying")(lambda: folder().verifying)
vector("keys.folder-id")(lambda: folder().folder_id)
vector("keys.psk")(lambda: folder().psk)
vector("keys.lan")(lambda: folder().lan)
vector("keys.probe")(lambda: folder().probe)
vector("keys.rendezvous.20000")(lambda: folder().rendezvous(20_000))
vector("keys.chunk-seed")(lambda: folder().chunk_seed)
vector("keys.path-id")(lambda: folder().path_id("Fotos/Ä.jpg".encode()))
vector("keys.seal")(lambda: folder().seal(b"record header", b"record body"))
vector("keys.static")(lambda: folder().static(bytes([0x42] * 32)))
vector("keys.sign")(lambda: folder().sign("syncd/1 test", b"message"))
vector("proof.read-write.initiator")(lambda: folder().level_proof(bytes([0x5A] * 32), keys.INITIATOR))
vector("proof.read-only.responder")(
    lambda: keys.derive(keys.to_read_only(SEED)).level_proof(bytes([0x5A] * 32), keys.RESPONDER)
)
vector("content.lengths.seed1.average256")(lambda: " ".join(str(len(c)) for c in first_chunks()))
vector("content.seed1")(lambda: content_root(1))
vector("content.seed2")(lambda: content_root(2))
vector("content.seed1.average256")(lambda: content_root(1, 256))
vector("lan.announce")(lambda: lan_tag(b"\x01", PORT, NONCE))
vector("lan.answer")(lambda: lan_tag(b"\x02", PORT, NONCE, ASKED))
vector("handshake.message-1")(lambda: transcript()[0][0])
vector("handshake.message-2")(lambda: transcript()[0][1])
vector("handshake.message-3")(lambda: transcript()[0][2])
vector("handshake.hash")(lambda: transcript()[1])
vector("handshake.initiator-key")(lambda: transcript()[2][0])
vector("handshake.responder-key")(lambda: transcript()[2][1])


@vector("frame.three-around-a-rekey")
def _frames() -> bytes:
    direction = frames.Direction(bytes(range(32)))
    return (
        direction.seal(frames.PING, b"12345678")
        + direction.seal(frames.REKEY, b"")
        + direction.seal(frames.CONTROL, b"\x01" + b"hello")
    )


@vector("hello.initiator")
def _hello() -> bytes:
    device = folder().greet(bytes([10] * 32), bytes([0x5A] * 32), keys.INITIATOR)
    observed = net.address(("203.0.113.9", 40_000))
    greeting = hello.Hello(2, 2, 0, 7, "Anna", 29_170, 3, observed, device)
    if hello.decode(greeting.encode()) != greeting:
        raise ValueError("a greeting isn't read as it was written")
    return greeting.encode()


@vector("conflict.copy")
def _copy() -> str:
    hash_ = content.hash_chunk(b"x")
    return reconcile.copy_path(b"d/report.txt", 7, 1_795_334_400_000_000_000, hash_).decode()


def check(docs: Path) -> list[str]:
    """What is wrong: a vector of the page that isn't known here or comes out differently, or the reverse."""
    wrong, seen = [], set()
    for name, value in documented(docs):
        seen.add(name)
        if name not in SERIES:
            wrong.append(f"{name}: this peer can't derive it")
        elif SERIES[name]() != value:
            wrong.append(f"{name}: {SERIES[name]()} instead of {value}")
    return wrong + [f"{name}: not on the page" for name in SERIES if name not in seen]
