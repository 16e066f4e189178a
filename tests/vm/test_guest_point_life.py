# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl guest` as a program: its policies, its mistakes, the status that it passes on, and what is left when it goes.

When kmodctl is killed, its breakpoints stay: the guest stands still at the next load, undecided, until another kmodctl comes.
When it is asked to go (SIGTERM), it takes them away, and the guest is on its own.
"""

import hashlib
import signal
from pathlib import Path

import pytest

from guard import policy
from guest_scenarios import BUSYBOX, KMOD, LOADED, Ran, igloo, image, judged, play
from machine import foreign
from machine.foreign_guest import Guard, Outcome, run, start
from patched import renamed

AMD64 = "amd64-6.1"
REFUSE = Guard(policy(allow=["brd"]))
PRETEND = Guard(policy(allow=["brd"], deny=["nlmon"]) + 'answer = "pretend"\n')
# As a project of the emulation framework has it: the plugin's section among others, names with path and suffix.
YAML = """core:
  arch: {arch}
  fs: ./base/fs.tar.gz
plugins:
  core: {{}}
  kmods:
    allowlist: [/lib/modules/brd.ko, nlmon, crc-itu-t.ko]
    denylist: [nlmon]
    quiet: {quiet}
"""
LOADS = {"listed": f"{KMOD} /m/brd.ko", "denied": f"{BUSYBOX} /m/nlmon.ko", "unlisted": f"{KMOD} /m/loop.ko"}


# --- policies


def load_three(name: str, guard: Guard) -> Ran:
    return play(name, {**LOADS, "loaded": LOADED}, guard)


def test_a_toml_policy_can_pretend() -> None:
    ran = load_three("arm64", PRETEND)
    assert [ran.steps[label].status for label in LOADS] == [0, 0, 0]
    assert ran.loaded() == {"brd"}
    assert [judged(event)[:2] for event in ran.outcome.events] == [("brd", "allow"), ("nlmon", "refuse"), ("loop", "refuse")]
    assert [ran.judgement(file)[2] for file in ("/m/nlmon.ko", "/m/loop.ko")] == ["0", "0"]


@pytest.mark.parametrize("name", ["mipsel", "amd64-6.12"])
def test_the_emulation_plugins_policy_is_taken_as_it_is(name: str) -> None:
    loads = {**LOADS, "folded": f"{BUSYBOX} /m/crc-itu-t.ko", "igloo": f"{KMOD} /t/igloo.ko", "loaded": LOADED}
    ran = play(name, loads, Guard(YAML.format(arch=name, quiet="false"), suffix=".yaml"), {"/t/igloo.ko": igloo(name)})
    assert {step.status for step in ran.steps.values()} == {0}
    assert ran.loaded() == {"brd", "crc_itu_t", "igloo"}
    assert set(ran.attempts()) == {"/m/brd.ko", "/m/nlmon.ko", "/m/loop.ko", "/m/crc-itu-t.ko", "/t/igloo.ko"}
    assert "loop" in ran.outcome.errors


def test_audit_lets_all_load_and_says_what_it_would_have_refused() -> None:
    ran = load_three("armhf", Guard(policy(allow=["brd"], mode="audit")))
    assert ran.loaded() == {"brd", "loop", "nlmon"}
    assert [(event["verdict"], event["judged"]) for event in ran.outcome.events] == [
        ("allow", "allow"), ("allow", "refuse"), ("allow", "refuse")]


@pytest.mark.parametrize("guard", [Guard(REFUSE.policy, options=["--quiet"]),
                                   Guard(YAML.format(arch="x", quiet="yes"), suffix=".yaml")],
                         ids=["--quiet", "quiet policy"])
def test_quiet_logs_to_the_folder_alone(guard: Guard) -> None:
    ran = load_three(AMD64, guard)
    assert "loop" not in ran.outcome.errors and "nlmon" not in ran.outcome.errors
    assert set(ran.attempts()) == {"/m/brd.ko", "/m/nlmon.ko", "/m/loop.ko"}
    assert {judged(event)[0] for event in ran.outcome.events} == {"brd", "nlmon", "loop"}


def test_a_pinned_module_loads_with_that_content_alone() -> None:
    pin = '[[pin]]\nmodule = "brd"\nsha256 = "{}"\n'
    digest = hashlib.sha256(image(AMD64, "brd")).hexdigest()
    for sha256, verdict in ((digest, "allow"), ("0" * 64, "refuse")):
        ran = load_three(AMD64, Guard(REFUSE.policy + pin.format(sha256)))
        assert ran.judgement("/m/brd.ko")[:2] == ("brd", verdict)
        assert ("brd" in ran.loaded()) == (verdict == "allow")


def test_row_29_the_framework_can_be_one_file_and_no_other_of_its_name(tmp_path: Path) -> None:
    framework = tmp_path / "igloo.ko"
    framework.write_bytes(igloo(AMD64))
    imitation = renamed(image(AMD64, "nlmon"), "nlmon", "igloo")
    loads = {"imitation": f"{KMOD} /t/igloo.ko", "before": LOADED, "framework": f"{KMOD} /t/framework.ko", "loaded": LOADED}
    ran = play(AMD64, loads, Guard(options=["--framework", str(framework)]),
               {"/t/igloo.ko": imitation, "/t/framework.ko": framework})
    assert (ran.steps["imitation"].status, ran.loaded("before")) == (0, set())
    assert ran.judgement("/t/igloo.ko") == ("igloo", "refuse", "0")
    assert (ran.steps["framework"].status, ran.loaded()) == (0, {"igloo"})


# --- kernels


@pytest.mark.parametrize(("name", "cmdline"), [("amd64-6.1", ""), ("amd64-7.2", ""), ("arm64", ""), ("ppc64el", "nokaslr")])
def test_symbols_may_be_the_kernels_image_and_the_kernel_may_move(name: str, cmdline: str) -> None:
    """What QEMU is given as -kernel: for ppc64el that is a vmlinux with its symbols, the others have them packed."""
    outcome = run(name, [*LOADS.values(), LOADED], guard=Guard(REFUSE.policy, symbols=foreign.kernel(name).image), cmdline=cmdline)
    assert [step.status for step in outcome.steps] == [0, 1, 1, 0], outcome.errors
    assert outcome.steps[-1].output == "brd"
    assert [judged(event)[:2] for event in outcome.events if event["call"] == "finit_module"] == [
        ("brd", "allow"), ("nlmon", "refuse"), ("loop", "refuse")]


# --- as a program


@pytest.mark.parametrize("guard", [None, REFUSE], ids=["QEMU", "kmodctl"])
def test_the_status_is_qemus(guard: Guard | None) -> None:
    """The machine virt of riscv64 has a device, at this address, that makes QEMU end with any status."""
    with start("riscv64", guard=guard) as guest:
        guest.begin("devmem 0x100000 32 0x73333")
        assert guest.wait_end() == 7


def kmodctl_alone(guard: Guard, arguments: list[str] = []) -> Outcome:
    """With a QEMU that does not get as far as a guest."""
    with start(AMD64, guard=guard, arguments=arguments) as guest:
        guest.wait_end(20)
    return guest.outcome


def test_qemus_own_failure_is_passed_on() -> None:
    outcome = kmodctl_alone(REFUSE, ["-device", "no-such-device"])
    assert outcome.status == 1
    assert "no-such-device" in outcome.errors


def test_a_qemu_that_is_not_there_is_127() -> None:
    outcome = kmodctl_alone(Guard(REFUSE.policy, qemu="/nowhere/qemu-system-x86_64"))
    assert outcome.status == 127
    assert "cannot run /nowhere/qemu-system-x86_64: No such file or directory" in outcome.errors


@pytest.mark.parametrize("text", ["no symbols at all\n", "ffffffff81000000 T start_kernel\n", "", "\x7fELF and no more"])
def test_symbols_that_are_none_are_an_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "symbols"
    file.write_text(text)
    outcome = kmodctl_alone(Guard(REFUSE.policy, symbols=file))
    assert outcome.status == 1
    assert str(file) in outcome.errors
    assert outcome.console == "", "QEMU did not even start"


def test_symbols_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    outcome = kmodctl_alone(Guard(REFUSE.policy, symbols=tmp_path / "nowhere"))
    assert outcome.status != 0
    assert f"{tmp_path}/nowhere" in outcome.errors and "No such file" in outcome.errors


def test_a_wrong_policy_starts_nothing() -> None:
    outcome = kmodctl_alone(Guard("version = 1\nbogus = 1\n"))
    assert outcome.status == 6
    assert "bogus" in outcome.errors and outcome.console == ""


# --- when kmodctl goes


@pytest.mark.parametrize("name", ["amd64-6.1", "arm64", "mipsel"])
def test_killed_in_the_middle_it_leaves_a_guest_that_waits_for_the_next_one(name: str) -> None:
    with start(name, guard=REFUSE) as guest:
        assert guest.do(f"{KMOD} /m/nbd.ko").status == 1
        guest.stop_kmodctl()
        undecided = guest.begin(f"{KMOD} /m/loop.ko")
        guest.wait_stopped()
        guest.kill_kmodctl()
        assert not guest.running, "the guest stands still at the load"

        second = guest.attach(REFUSE)
        assert guest.wait_step(undecided).status == 1
        assert guest.do(f"{KMOD} /m/nbd.ko").status == 1
        assert guest.do(f"{KMOD} /m/brd.ko rd_nr=3; cat /sys/module/brd/parameters/rd_nr").output == "3"
        assert guest.do(LOADED).output == "brd"
        assert guest.attempts()[-3:] == ["/m/loop.ko", "/m/nbd.ko", "/m/brd.ko"]

        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0
        assert guest.do(f"{BUSYBOX} /m/loop.ko").status == 0, "nobody decides any more"
        assert guest.running
        assert set(guest.do(LOADED).output.split()) == {"brd", "loop"}
        assert len(guest.attempts()) == 4


def test_killed_at_any_moment_it_lets_nothing_by() -> None:
    loads = f"for n in $(seq 30); do {BUSYBOX} /m/loop.ko 2>/dev/null && echo $n; done"
    with start(AMD64, guard=REFUSE) as guest:
        guest.do("true")
        busy = guest.begin(loads)
        guest.wait_attempts(5)
        guest.kill_kmodctl()
        for more in (15, 25):
            kmodctl = guest.attach(REFUSE)
            guest.wait_attempts(more)
            kmodctl.kill()
            kmodctl.wait()
        guest.attach(REFUSE)
        step = guest.wait_step(busy)
        assert (step.status, step.output) == (1, ""), "no load has succeeded"
        assert guest.do(f"{KMOD} /m/brd.ko").status == 0
        assert guest.do(LOADED).output == "brd"


def test_asked_to_go_it_ends_the_machine_that_it_has_started() -> None:
    """It passes the signal on: to whoever has started kmodctl, it is QEMU."""
    with start(AMD64, guard=REFUSE) as guest:
        guest.do("true")
        guest.signal(signal.SIGTERM)
        assert guest.wait_end(20) == 0, "QEMU's status after SIGTERM"
        assert not guest.qemu_runs


def test_a_machine_that_runs_already_can_be_attached_to(tmp_path: Path) -> None:
    socket = tmp_path / "gdb"
    with start(AMD64, arguments=["-gdb", f"unix:{socket},server=on,wait=off"]) as guest:
        assert guest.do(f"{KMOD} /m/nbd.ko").status == 0
        guest.attach(REFUSE, str(socket))
        guest.wait_errors("the guest runs")
        assert guest.do(f"{KMOD} /m/loop.ko").status == 1
        assert guest.do(f"{KMOD} /m/brd.ko").status == 0
        assert set(guest.do(LOADED).output.split()) == {"brd", "nbd"}
        guest.begin("reboot -f")
        guest.wait_end()
