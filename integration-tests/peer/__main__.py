"""The peer's command line.

`python -m peer vectors DOCS` derives every vector of the pages; exit code 1 if one differs.

`python -m peer join HOST:PORT DIR` reads a secret from standard input, joins the daemon there, and brings DIR and
the daemon's folder to the same state. With a read-only secret it only fetches. It prints one line when it is
done.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from . import hello, keys, later_vectors, record_vectors, secret, store, vectors
from .exchange import Exchange
from .session import Session

LIMIT = 120
"""Seconds after which a run that doesn't get anywhere is ended."""


def run_vectors(docs: Path) -> int:
    """Checks all vectors."""
    later_vectors.register()
    record_vectors.register()
    wrong = vectors.check(docs)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(vectors.SERIES)} vectors, {len(wrong)} wrong")
    return 1 if wrong else 0


def run_join(address: str, directory: Path) -> int:
    """Joins a daemon and leaves when both sides are the same."""
    # Whoever waits for this process shall not wait for ever.
    signal.alarm(LIMIT)
    host, _, port = address.rpartition(":")
    folder = store.Folder(directory, keys.derive(secret.parse(sys.stdin.readline())))
    signed = folder.scan()
    folder.save()
    greeting = hello.Hello(hello.VERSION, hello.VERSION, 0, store.random_number(), "python peer", 0)
    session = Session.dial((host.strip("[]"), int(port)), folder.keys, folder.device, greeting)
    exchange = Exchange(session, folder)
    exchange.run()
    print(
        f"in sync with {session.hello.name!r}: {len(folder.items)} paths, {signed} signed here,"
        f" {exchange.fetched_objects} objects of {exchange.fetched_bytes} bytes fetched,"
        f" {exchange.fetched_by_number} of them by number"
    )
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="peer", description="A second implementation of a syncd peer.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("vectors", help="derive every vector of the protocol's pages")
    check.add_argument("docs", type=Path)
    join = commands.add_parser("join", help="join a daemon; the secret is read from standard input")
    join.add_argument("address", metavar="HOST:PORT")
    join.add_argument("directory", metavar="DIR", type=Path)
    given = parser.parse_args()
    if given.command == "vectors":
        return run_vectors(given.docs)
    return run_join(given.address, given.directory)


if __name__ == "__main__":
    sys.exit(main())
