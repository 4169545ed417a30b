#!/usr/bin/env python3
"""Measures the first sync of a folder between daemons in network namespaces, with rsync beside it.

    cargo build --release -p syncd -p syncctl
    sudo integration-tests/bench/first_sync.py --files 100000 --size 256 --rsync
    sudo integration-tests/bench/first_sync.py --files 1 --size 1073741824 --rsync
    sudo integration-tests/bench/first_sync.py --files 100000 --size 256 --nodes 5

The first node has the files and has scanned them; the clock starts when the others, empty and running, are given
the secret, and stops when all of them are in sync and hold everything. It needs Linux, root and `ip`; with --rsync also
rsync. One line of JSON comes out:

    sync_s          seconds until all were done
    received        bytes that came to a receiver, by the bytes of the files (mean)
    both_ways       bytes that went through a receiver's interface in both directions, likewise
    cpu_s           processor seconds of each daemon, the source first
    peak_mb         peak of resident memory of each
    index_mb        size of each index on disk
    restart_s       seconds until all are in sync again after they were stopped

Quote ratios of figures from one run, not seconds: machines differ. Files are random, so nothing compresses and no two are
equal. Before the clock starts all is written back, and it is quiet for ten seconds. ext4 looks long for a free inode
for up to five minutes after a large tree was deleted, which can double everything: what rsync made stays until the
end, and a second run belongs on a file system made afresh (--work).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PORT = 29170
QUIET = 10.0
LONGEST = 1800.0


def run(*command: str, text: str | None = None) -> str:
    """Runs a command to its end; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, input=text)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Lab:
    """Network namespaces on one bridge."""

    def __init__(self, nodes: int) -> None:
        name = f"bench{os.getpid()}"
        self.bridge, self.nodes = f"{name}-br", [f"{name}-{i}" for i in range(nodes)]

    def __enter__(self) -> Lab:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        run("ip", "netns", "add", self.bridge)
        run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.bridge, "link", "set", "br0", "up")
        for i, node in enumerate(self.nodes):
            run("ip", "netns", "add", node)
            ends = ["eth0", "type", "veth", "peer", "name", f"v{i}", "netns", self.bridge]
            run("ip", "-n", node, "link", "add", *ends)
            run("ip", "-n", self.bridge, "link", "set", f"v{i}", "master", "br0", "up")
            run("ip", "-n", node, "addr", "add", f"{self.address(i)}/24", "brd", "+", "dev", "eth0")
            run("ip", "-n", node, "link", "set", "lo", "up")
            run("ip", "-n", node, "link", "set", "eth0", "up")

    def __exit__(self, *_: object) -> None:
        for name in [*self.nodes, self.bridge]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def address(self, node: int) -> str:
        """Where a node is."""
        return f"10.88.0.{node + 1}"

    def inside(self, node: int) -> list[str]:
        """What a command begins with that runs there."""
        return ["ip", "netns", "exec", self.nodes[node]]

    def traffic(self, node: int) -> tuple[int, int]:
        """Bytes received and sent so far."""
        link = json.loads(run("ip", "-n", self.nodes[node], "-j", "-s", "link", "show", "eth0"))[0]
        return link["stats64"]["rx"]["bytes"], link["stats64"]["tx"]["bytes"]


class Node:
    """A daemon in a namespace."""

    def __init__(self, lab: Lab, number: int, binaries: Path, work: Path) -> None:
        self.lab, self.number, self._binaries = lab, number, binaries
        self.home, self.root, self._log = work / f"home{number}", work / f"root{number}", work / f"log{number}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--name", f"node{self.number}", "--no-dht", "--no-upnp", "--listen", str(PORT)]
        command = [str(self._binaries / "syncd"), "run", "--home", str(self.home), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self.lab.inside(self.number), *command], stdout=log, stderr=log)
        for _ in range(400):
            try:
                self.ask("status")
                return
            except RuntimeError:
                time.sleep(0.05)
        raise RuntimeError(f"node {self.number} doesn't start; see {self._log}")

    def stop(self) -> None:
        """Stops it in good order."""
        if self._process:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def ctl(self, *command: str, text: str | None = None) -> str:
        return run(str(self._binaries / "syncctl"), "--home", str(self.home), *command, text=text)

    def ask(self, *command: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ctl("--json", *command))
        return answer

    def folder(self) -> dict[str, Any]:
        """How its folder stands."""
        return self.ask("folder", "show", str(self.root))

    def cpu_s(self) -> float:
        ticks = Path(f"/proc/{self._pid()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> int:
        lines = Path(f"/proc/{self._pid()}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) >> 10

    def index_mb(self) -> float:
        files = (self.home / "index").rglob("*")
        return round(sum(f.stat().st_size for f in files if f.is_file()) / 1e6, 1)

    def _pid(self) -> int:
        if not self._process:
            raise RuntimeError("it doesn't run")
        return self._process.pid


def make(root: Path, files: int, size: int) -> int:
    """Writes the files; the bytes of all."""
    root.mkdir(parents=True)
    chance = random.Random(1)
    for number in range(files):
        directory = root / f"dir{number // 1000:04}"
        if number % 1000 == 0:
            directory.mkdir()
        with (directory / f"file{number:07}.txt").open("wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(chance.randbytes(min(1 << 20, size - at)))
    return files * size


def settle() -> None:
    run("sync")
    time.sleep(QUIET)


def rsync(lab: Lab, work: Path, root: Path, content: int) -> dict[str, float]:
    """The same by rsync, from a daemon on the first node."""
    config = work / "rsyncd.conf"
    config.write_text(f"[f]\npath={root}\nuid=root\nuse chroot=no\n")
    daemon = ["rsync", "--daemon", "--no-detach", f"--config={config}", "--port=8730"]
    serving = subprocess.Popen([*lab.inside(0), *daemon])
    try:
        time.sleep(0.5)
        before, began = lab.traffic(1), time.monotonic()
        run(*lab.inside(1), "rsync", "-a", f"rsync://{lab.address(0)}:8730/f/", f"{work}/rsync/")
        took, after = time.monotonic() - began, lab.traffic(1)
    finally:
        serving.terminate()
        serving.wait()
    ways = sum(after) - sum(before)
    return {"rsync_s": round(took, 2), "rsync_both_ways": round(ways / content, 3)}


def measure(lab: Lab, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One whole run."""
    result: dict[str, Any] = {"files": options.files, "size": options.size, "nodes": options.nodes}
    nodes = [Node(lab, i, options.bin, work) for i in range(options.nodes)]
    source, receivers = nodes[0], nodes[1:]
    content = make(source.root, options.files, options.size)
    if options.rsync:
        settle()
        result |= rsync(lab, work, source.root, content)
    try:
        source.start()
        began = time.monotonic()
        secret = source.ctl("folder", "add", str(source.root)).split()[0]
        while source.folder()["state"] in ("scanning", "syncing"):
            time.sleep(0.05)
        result["scan_s"] = round(time.monotonic() - began, 2)
        for node in receivers:
            node.root.mkdir()
            node.start()
        settle()
        cpu, traffic = [n.cpu_s() for n in nodes], [lab.traffic(n.number) for n in nodes]
        began = time.monotonic()
        for node in receivers:
            known = [f"--known-host={lab.address(other)}:{PORT}" for other in range(node.number)]
            node.ctl("folder", "add", str(node.root), "--secret", "-", *known, text=secret + "\n")
        waiting = list(receivers)
        while waiting:
            if time.monotonic() - began > LONGEST:
                raise RuntimeError("it takes too long")
            waiting = [n for n in waiting if not is_done(n.folder(), options.files)]
            time.sleep(0.05)
        result["sync_s"] = round(time.monotonic() - began, 2)
        news = [(lab.traffic(n.number), traffic[n.number]) for n in receivers]
        come = sum(after[0] - before[0] for after, before in news) / len(receivers)
        gone = sum(after[1] - before[1] for after, before in news) / len(receivers)
        result["received"] = round(come / content, 3)
        result["both_ways"] = round((come + gone) / content, 3)
        result["cpu_s"] = [round(n.cpu_s() - before, 2) for n, before in zip(nodes, cpu)]
        result["peak_mb"] = [n.peak_mb() for n in nodes]
        for node in receivers:
            run("diff", "-rq", "--exclude=.sync", str(source.root), str(node.root))
        for node in nodes:
            node.stop()
        result["index_mb"] = [n.index_mb() for n in nodes]
        began = time.monotonic()
        for node in nodes:
            node.start()
        while any(n.folder()["state"] != "in-sync" for n in nodes):
            time.sleep(0.05)
        result["restart_s"] = round(time.monotonic() - began, 2)
    finally:
        for node in nodes:
            node.stop()
    return result


def is_done(folder: dict[str, Any], files: int) -> bool:
    return folder["state"] == "in-sync" and folder["local"]["files"] >= files


def main() -> None:
    repository = Path(__file__).resolve().parents[2]
    options = argparse.ArgumentParser(description="Measures the first sync of a folder.")
    options.add_argument("--bin", type=Path, default=repository / "target/release", help="where syncd and syncctl are")
    options.add_argument("--files", type=int, default=100_000, help="how many files")
    options.add_argument("--size", type=int, default=256, help="bytes of each")
    options.add_argument("--nodes", type=int, default=2, help="daemons, the source among them")
    options.add_argument("--rsync", action="store_true", help="measure rsync beside it")
    options.add_argument("--work", type=Path, help="a directory on the disk to be measured")
    given = options.parse_args()
    if given.nodes < 2 or given.files < 1:
        options.error("it takes two nodes and a file")
    with tempfile.TemporaryDirectory(dir=given.work, prefix="syncd-bench-") as work, Lab(given.nodes) as lab:
        print(json.dumps(measure(lab, Path(work), given)))


if __name__ == "__main__":
    main()
