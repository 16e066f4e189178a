# SPDX-License-Identifier: AGPL-3.0-only
"""What the hook is handed unpacked: loaded from memory, judged and recorded as the file that it was unpacked from, and never in the place of
another.

6.12, whose security hooks see of a compressed file its compressed bytes only, and 7.2, where they see both.
"""

import hashlib
import json
import lzma
import re
from collections.abc import Iterator

import pytest

from guard import POLICY, Guard, Prepared, file_of, policy, usual

pytestmark = pytest.mark.restored

EVENTS = "/tmp/events.jsonl"
TRACE = "/sys/kernel/tracing"
IMA = "/sys/kernel/security/ima/policy"


@pytest.fixture(scope="module", params=["6.12", "7.2"])
def prepared_machine(request: pytest.FixtureRequest) -> Prepared:
    return usual(request.param, 1)


@pytest.fixture
def guard(prepared_machine: Prepared) -> Iterator[Guard]:
    with prepared_machine.machine(prepared_machine.started) as vm:
        yield Guard(vm)


def start(guard: Guard, **lists: object) -> None:
    """With a daemon that writes its events to a file, and with all judged that is judged ahead."""
    guard.vm.put(POLICY, policy(**lists).encode())  # type: ignore[arg-type]
    guard.ctl("stop", check=True)
    guard.vm.run(f"/usr/libexec/kmodguard/kmodguard --background --events {EVENTS} & "
                 "until kmodctl status >/dev/null 2>&1; do :; done; kmodctl arm", check=True)


def loads(guard: Guard, module: str) -> list[dict]:
    """The kernel point's events of it, once there is one."""
    guard.vm.run(f"until grep -q '\"point\":\"kernel\".*{module}' {EVENTS}; do :; done", check=True)
    events = [json.loads(line) for line in guard.vm.get(EVENTS).decode().splitlines() if line.startswith("{")]
    return [event for event in events if event.get("point") == "kernel" and module in event.get("file", "")]


def watch_calls(guard: Guard) -> None:
    """From now on, for calls()."""
    guard.vm.run(f"mountpoint -q {TRACE} || mount -t tracefs none {TRACE}; echo 1 >{TRACE}/events/syscalls/sys_enter_finit_module/enable",
                 check=True)


def calls(guard: Guard) -> list[str]:
    """The flags of the finit_module calls since: 0 of an image, 4 of a compressed file (MODULE_INIT_COMPRESSED_FILE)."""
    trace = guard.vm.run(f"cat {TRACE}/trace; echo >{TRACE}/trace", check=True).stdout
    return re.findall(r"kmodguard-hook.*sys_finit_module\(.*flags: (\d+)\)", trace)


def image_of(guard: Guard, module: str) -> bytes:
    return lzma.decompress(guard.vm.get(file_of(guard.vm, module)))


@pytest.mark.parametrize("lists", [{"allow": ["kmg_param"]}, {"aliases": ["kmg*"]}], ids=["judged ahead", "first request"])
def test_image_is_unpacked_once_and_recorded_as_its_file(guard: Guard, lists: dict) -> None:
    start(guard, **lists)
    watch_calls(guard)
    assert guard.ask("kmg_param") == "ok"
    assert "kmg_param" in guard.vm.loaded()
    assert calls(guard) == ["0"], "the kernel was given the unpacked image"
    image = image_of(guard, "kmg_param")
    [event] = loads(guard, "kmg_param")
    assert event["file"].removeprefix("/usr") == file_of(guard.vm, "kmg_param")
    assert event["sha256"] == hashlib.sha256(image).hexdigest()
    assert event["verdict"] == "allow" and event["requester"]["exe"].endswith("/kmodguard-hook")


def test_options_and_dependencies_come_as_with_files(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b'options kmg_param number=7 text="two words"\n')
    start(guard, allow=["kmg_param", "kmg_soft", "kmg_twin_a", "kmg_inner"])
    watch_calls(guard)
    for token in ("kmg-param", "kmg_soft"):
        assert guard.ask(token) == "ok"
    assert guard.vm.get("/sys/module/kmg_param/parameters/number") == b"7\n"
    assert guard.vm.get("/sys/module/kmg_param/parameters/text") == b"two words\n"
    assert {"kmg_inner", "kmg_soft", "kmg_twin_a"} <= guard.vm.loaded()
    assert calls(guard) == ["0"] * 4


def test_file_that_was_replaced_is_judged_anew_though_the_old_one_is_kept_unpacked(guard: Guard) -> None:
    start(guard, allow=["kmg_param"])
    target, other = file_of(guard.vm, "kmg_param"), file_of(guard.vm, "kmg_twin_b")
    assert guard.ask("kmg_param") == "ok"
    guard.vm.run(f"requester delete kmg_param; cp {target} /run/kept; cp {other} {target}", check=True)
    assert guard.ask("kmg_param") == "exit3"
    assert not guard.vm.loaded() & {"kmg_param", "kmg_twin_b"}
    guard.vm.run(f"cp /run/kept {target}", check=True)
    assert guard.ask("kmg_param") == "ok"


def test_pin_is_compared_with_the_kernels_own_copy(guard: Guard) -> None:
    start(guard, allow=["kmg_param"])
    right = hashlib.sha256(image_of(guard, "kmg_param")).hexdigest()
    for digest, answer in (("0" * 64, "exit3"), (right, "ok")):
        text = policy(allow=["kmg_param"]) + f'[[pin]]\nmodule = "kmg_param"\nsha256 = "{digest}"\n'
        guard.vm.put(POLICY, text.encode())
        guard.ctl("reload", check=True)
        assert guard.ask("kmg_param") == answer


def test_kernel_that_takes_no_module_from_memory_is_given_the_file(guard: Guard) -> None:
    """As where IMA appraises: a file in memory has no signature of its own."""
    start(guard, allow=["kmg_param"])
    guard.vm.run(f"mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security; "
                 f"echo appraise func=MODULE_CHECK fsname=tmpfs >{IMA}", check=True)
    watch_calls(guard)
    assert guard.ask("kmg_param") == "ok"
    assert "kmg_param" in guard.vm.loaded()
    assert calls(guard)[:2] == ["0", "4"]


def test_what_is_loaded_is_not_kept(guard: Guard) -> None:
    start(guard, allow=["kmg_param"])
    kept = "ls -l /proc/$(pidof kmodguard)/fd | grep -q memfd:kmodguard:kmg_param:"
    guard.vm.run(f"until {kept}; do :; done", check=True)
    assert guard.ask("kmg_param") == "ok"
    guard.vm.run(f"while {kept}; do :; done", check=True)
