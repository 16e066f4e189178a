# SPDX-License-Identifier: AGPL-3.0-only
"""What the tests of the guest point have in common: images to load, scenarios by label, and looking at what came of them."""

import lzma
import re
from collections.abc import Mapping
from dataclasses import dataclass

from machine import foreign
from machine.foreign_guest import TIMEOUT, Files, Guard, Outcome, Step, run
from patched import registered_as, renamed, with_modinfo_name

GUESTS = list(foreign.GUESTS)
KMOD, BUSYBOX = "/usr/sbin/insmod", "busybox insmod"
LOADED = "cut -d' ' -f1 /proc/modules | sort"


@dataclass(frozen=True)
class Ran:
    """The outcome of a scenario, whose steps have labels."""

    outcome: Outcome
    steps: Mapping[str, Step]

    def attempts(self) -> list[str]:
        """The paths of modules.log. Names in it are from init_module, which busybox tries after a failure."""
        return [line for line in self.outcome.attempts if line.startswith("/")]

    def events(self, file: str) -> list[dict]:
        """What is recorded of the loads of a file. All of them say that they are the guest's."""
        found = [event for event in self.outcome.events if file in (event.get("file"), event.get("after", {}).get("file"))]
        assert all(event["point"] == "guest" for event in found)
        return found

    def loaded(self, label: str = "loaded") -> set[str]:
        """What the guest's /proc/modules had; LOADED is the command of that step."""
        return set(self.steps[label].output.split())

    def judgement(self, file: str) -> tuple[str, str, str]:
        """Module, verdict and answer of the first attempt with a file."""
        events = self.events(file)
        assert events, f"no event of {file}: {self.outcome.events}"
        return judged(events[0])


def judged(event: dict) -> tuple[str, str, str]:
    return "".join(module["module"] for module in event["modules"]), event["verdict"], event.get("answer", "")


def play(name: str, commands: Mapping[str, str], guard: Guard | None, files: Files = {}, cpus: int = 1,
         timeout: float = TIMEOUT) -> Ran:
    """Runs the labelled commands in a guest that ends by itself, and says 0."""
    outcome = run(name, list(commands.values()), guard=guard, files=files, cpus=cpus, timeout=timeout)
    assert outcome.status == 0, outcome.errors
    return Ran(outcome, dict(zip(commands, outcome.steps, strict=True)))


def image(name: str, module: str) -> bytes:
    return foreign.kernel(name).module(module).read_bytes()


def igloo(name: str) -> bytes:
    """The framework's module: dummy, by another name."""
    return renamed(image(name, "dummy"), "dummy", "igloo")


def crafted(name: str) -> dict[str, bytes]:
    """Images in /t that are not what their file names say, or no images at all."""
    loop, nlmon = image(name, "loop"), image(name, "nlmon")
    return {
        "/t/igloo.ko": igloo(name),
        "/t/brd.ko": loop,  # row 1: an unlisted module by the name of an allowed one
        "/t/e1000e.ko": nlmon,
        "/t/says-nlmon.ko": with_modinfo_name(image(name, "dummy"), "dummy", "nlmon"),
        "/t/says-dummy.ko": registered_as(nlmon, "nlmon", "nbd"),
        "/t/says-igloo.ko": with_modinfo_name(image(name, "dummy"), "dummy", "igloo"),
        "/t/half.ko": halved(image(name, "brd")),
        "/t/half-igloo.ko": halved(igloo(name)),
        "/t/garbage.ko": bytes(range(256)) * 16,
        "/t/text.ko": b"#!/bin/sh\n" + b"insmod brd\n" * 100,
        "/t/packed.ko": packed(loop),
        "/t/nls_cp437.ko.xz": packed(image(name, "nls_cp437")),
        "/t/igloo.ko.xz": packed(igloo(name)),
        "/t/empty.ko": b"",
    }


def packed(image: bytes) -> bytes:
    return lzma.compress(image, check=lzma.CHECK_CRC32)


def halved(image: bytes) -> bytes:
    return image[:len(image) // 2]


def numbers(text: str) -> dict[str, int]:
    """The lines of /proc/meminfo, in KiB."""
    return {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
