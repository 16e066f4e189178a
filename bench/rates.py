# SPDX-License-Identifier: AGPL-3.0-only
"""How many requests a second the daemon answers, and records, when 64 clients ask at once; natively.

Wall time, in which the clients and the daemon's two threads share the processors: only what one run says of two programs
is worth something. The processor time is the daemon's alone, recording included. Beside it the same clients at the least
program that can answer them, and at the daemon that KMODGUARD_BENCH_BEFORE names, if it does.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from daemon import DAEMON, Native, aliases_of
from machine.guest import compiled
from machine.initramfs import stage_folder
from machine.packages import Kernel
from table import Figure, Goal, Row

FLOOD = Path(__file__).with_name("flood.cpp")
CLIENTS = 64
REQUESTS = 30_000
REPEAT = 7
DENIED = "rate-*"
EVENT = Goal(1 / 50_000, "token")
BEFORE = Goal(1 / 5)
NONE = Goal(0, "events")


def tokens_of(kernel: Kernel) -> dict[str, list[str]]:
    """What is asked for: the same few names that nothing has, of which one is told as an event and the others are counted;
    names that are denied, each of which is told; and devices' aliases, too many to be remembered."""
    return {"counted": [f"other-{i}" for i in range(500)],
            "told": [f"rate-{i}" for i in range(REQUESTS)],
            "aliases": sorted(aliases_of(kernel), key=hash_of)}


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def ask(socket: Path, tokens: list[str]) -> float:
    """The seconds that the clients take for all requests."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("".join(f"{token}\n" for token in tokens))
        file.flush()
        command = [compiled(FLOOD), "ask", socket, str(CLIENTS), str(REQUESTS), file.name]
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) / 1e9


def processor_time(pid: int) -> float:
    """The seconds that the process's threads ran until now."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def least(tokens: list[str]) -> dict[str, float]:
    """The seconds for an answer of the least program that gives one, and those of its processor time."""
    with tempfile.TemporaryDirectory(prefix="kmodguard-bench-") as folder:
        path = Path(folder) / "socket"
        with subprocess.Popen([compiled(FLOOD), "answer", path], stdout=subprocess.PIPE) as server:
            assert server.stdout
            server.stdout.readline()
            before = processor_time(server.pid)
            taken = ask(path, tokens)
            used = processor_time(server.pid) - before
            server.kill()
    return {"counted": taken / REQUESTS, "work of counted": used / REQUESTS}


def lost_of(events: Path) -> int:
    """How many attempts the file says are lost. Each is told, counted or lost."""
    told = lost = 0
    for event in map(json.loads, events.read_text().splitlines()):
        told += 1 + event.get("repeated", 0) if "verdict" in event else 0
        lost += event.get("lost", 0)
    if told + lost != REQUESTS:
        raise RuntimeError(f"of {REQUESTS} attempts {told} are told, and {lost} lost")
    return lost


def served(program: Path, kernel: Kernel, asked: dict[str, list[str]]) -> dict[str, float]:
    """The seconds for an answer; those until the last event is written, which the daemon waits for before it ends; those
    of processor time; and how many were lost."""
    taken: dict[str, float] = {}
    for name, tokens in asked.items():
        with tempfile.TemporaryDirectory(prefix="kmodguard-bench-") as folder:
            daemon = Native(kernel, Path(folder), program)
            events = daemon.root / "events.jsonl"
            daemon.start([], deny=[DENIED], options=[f"--events={events}"])
            before = processor_time(daemon.pid)
            begin = time.monotonic()
            taken[name] = ask(daemon.socket, tokens) / REQUESTS
            taken[f"work of {name}"] = (daemon.end() - before) / REQUESTS
            taken[f"{name} and written"] = (time.monotonic() - begin) / REQUESTS
            taken[f"lost of {name}"] = lost_of(events)
    return taken


def measure(kernel: Kernel) -> Iterator[Row]:
    before = os.environ.get("KMODGUARD_BENCH_BEFORE")
    programs = {"least": None, "now": stage_folder() / DAEMON.lstrip("/"), "before": Path(before) if before else None}
    asked = tokens_of(kernel)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(REPEAT):  # in turn, since the machine's other work changes
        for name, value in least(asked["counted"]).items():
            values["least", name].append(value)
        for which, program in programs.items():
            for name, value in (served(program, kernel, asked) if program else {}).items():
                values[which, name].append(value)

    def figure(which: str, name: str, unit: str = "token") -> Figure | None:
        return Figure(tuple(values[which, name]), unit) if values[which, name] else None

    for name, what in (("counted", "names that nothing has"), ("told", "denied names, each recorded"),
                       ("aliases", "aliases not seen before")):
        for measured, of in ((name, "an answer"), (f"work of {name}", "the daemon's processor time for it")):
            now, peer = figure("now", measured), figure("least", measured.replace(name, "counted"))
            assert now
            yield Row(f"AUTOLOAD, {CLIENTS} clients, {what}: {of} (peer: the least program that gives one)", now, peer)
            if earlier := figure("before", measured):
                yield Row(f"the same (peer: {before})", now, earlier, BEFORE if measured == name else None)
    written, lost = figure("now", "told and written"), figure("now", "lost of told", "events")
    assert written and lost
    yield Row(f"events to JSON lines, {CLIENTS} clients: an event, until it is in the file", written,
              figure("before", "told and written"), EVENT)
    yield Row(f"of {REQUESTS} of them lost", lost, figure("before", "lost of told", "events"), NONE)
