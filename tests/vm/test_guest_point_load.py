# SPDX-License-Identifier: AGPL-3.0-only
"""The guest point under load, and by the ways into a kernel that no insmod takes.

Two processors that load at the same time, hundreds of refused loads that must leave nothing behind in the guest's memory,
and the project's own `loader` (guest/loader.cpp) for calls by descriptors without a path and of two threads on one file.
"""

import os
import re
from collections import Counter

import pytest

from guard import policy
from guest_scenarios import BUSYBOX, KMOD, LOADED, Ran, crafted, image, judged, numbers, play
from machine import foreign
from machine.cache import VM_FOLDER
from machine.foreign_guest import Guard
from machine.guest import compiled, tools
from told import told

# Before 6.5 two calls on one file are two loads, and from then on one.
JUMPER = VM_FOLDER / "guest/jumper.cpp"
AMD64 = ["amd64-6.1", "amd64-7.2"]
LISTED, UNLISTED = foreign.NLS[::2], foreign.NLS[1::2]
TIMEOUT = 300


def registered(modules: tuple[str, ...]) -> set[str]:
    return {module.replace("-", "_") for module in modules}


@pytest.mark.parametrize(("name", "answer"), [
    ("amd64-6.1", "refuse"), ("amd64-7.2", "pretend"), ("arm64", "refuse"), ("arm64", "pretend")])
def test_parallel_loads_on_two_processors_have_each_their_own_verdict(name: str, answer: str) -> None:
    one = f"{KMOD} /m/$m.ko 2>/dev/null; echo $m $?"
    commands = {"parallel": f"for m in {' '.join(foreign.NLS)}; do ({one}) & done; wait", "loaded": LOADED}
    guard = Guard(policy(allow=LISTED) + f'answer = "{answer}"\n')
    ran = play(name, commands, guard, cpus=2, timeout=TIMEOUT)
    statuses = dict(re.findall(r"^(\S+) (\d+)$", ran.steps["parallel"].output, re.MULTILINE))
    assert statuses == {module: "1" if module in UNLISTED and answer == "refuse" else "0" for module in foreign.NLS}
    assert ran.loaded() == registered(LISTED)
    assert Counter(ran.outcome.attempts) == Counter(f"/m/{module}.ko" for module in foreign.NLS)
    verdicts = {judged(event)[0]: event["verdict"] for event in ran.outcome.events}
    assert len(ran.outcome.events) == len(foreign.NLS)
    assert verdicts == {name: "allow" if name in registered(LISTED) else "refuse" for name in registered(foreign.NLS)}


# Every second one's module is listed; of each two that follow each other one is, and both load from files, or from memory.
TASKS = [(module, ("finit", "init")[(number // 2) % 2]) for number, module in enumerate(foreign.NLS[:8])]
ATTEMPTS = int(os.environ.get("KMODGUARD_ATTEMPTS", "1000"))


def at_once(tasks: list[tuple[str, str]], repeat: int) -> str:
    """A command that runs tasks beside each other, and prints how often each had which answer."""
    one = "loader --repeat {0} --unload {1} {2} /m/{3}.ko | sort | uniq -c | sed 's/^ */{1} /'"
    return " ".join(f"({one.format(repeat, module.replace('-', '_'), way, module)}) &" for module, way in tasks) + " wait"


@pytest.mark.parametrize("name", ["amd64-6.1"])
def test_a_thousand_attempts_on_four_processors_are_each_decided_on_and_recorded(name: str) -> None:
    """The breakpoint of load_module() is set and taken away while they begin and end: by two tasks at a time it is often, by eight seldom."""
    repeat = -(-ATTEMPTS // (2 * len(TASKS)))
    pairs = {f"pair {n}": at_once(TASKS[n:n + 2], repeat) for n in range(0, len(TASKS), 2)}
    ran = loader(name, {**pairs, "all": at_once(TASKS, repeat)}, Guard(policy(allow=LISTED), options=["--quiet"]), cpus=4,
                 timeout=3 * TIMEOUT * max(1, ATTEMPTS // 1000))
    printed = Counter(line for label in [*pairs, "all"] for line in ran.steps[label].output.splitlines())
    assert printed == {f"{module.replace('-', '_')} {repeat} {way} {'ok' if module in LISTED else 'EPERM'}": 2 for module, way in TASKS}
    assert ran.loaded() == set()
    assert Counter(ran.outcome.attempts) == {
        f"/m/{module}.ko" if way == "finit" else module.replace("-", "_"): 2 * repeat for module, way in TASKS}
    loads = [event for event in ran.outcome.events if event["call"] != "delete_module"]
    for module, way in TASKS:
        own = [event for event in loads if judged(event)[0] == module.replace("-", "_")]
        assert {(event["call"], *judged(event)[1:]) for event in own} == {
            (f"{way}_module", *(("allow", "0") if module in LISTED else ("refuse", "EPERM")))}, module
        assert told(own) == 2 * repeat, module
    assert told(loads) == 2 * repeat * len(TASKS)


LEAK = f"for n in $(seq {{}}); do {BUSYBOX} /m/nbd.ko 2>/dev/null; done; true"
MEMORY = "sync; echo 3 >/proc/sys/vm/drop_caches; cat /proc/meminfo"


@pytest.mark.parametrize("name", ["amd64-6.1", "arm64", "mipsel"])
def test_three_hundred_refused_loads_leave_nothing_in_the_guests_memory(name: str) -> None:
    """Half of them by finit_module and half by init_module, which is what busybox tries then.

    What the first ones leave for good, such as slabs, is not counted.
    """
    commands = {"first": LEAK.format(5), "before": MEMORY, "loads": LEAK.format(150), "after": MEMORY}
    ran = play(name, commands, Guard(policy(), options=["--quiet"]), timeout=TIMEOUT)
    assert ran.attempts() == ["/m/nbd.ko"] * 155
    assert {judged(event) for event in ran.outcome.events} == {("nbd", "refuse", "EPERM")}
    assert {event["call"] for event in ran.outcome.events} == {"finit_module"}, "the other call is of the same attempt"
    assert told(ran.outcome.events) == 155
    before, after = (numbers(ran.steps[label].output) for label in ("before", "after"))
    leaked = 300 * len(image(name, "nbd")) // 1024  # KiB, were no copy freed
    assert after["VmallocUsed"] - before["VmallocUsed"] < leaked // 50, (before, after)
    assert before["MemFree"] - after["MemFree"] < leaked // 10, (before, after)


@pytest.mark.parametrize("name", ["amd64-6.1", "arm64", "ppc64el"])
def test_what_the_kernel_itself_refuses_is_not_taken_for_the_next_attempt(name: str) -> None:
    """No image comes for an empty file. The next process may have the same stack, entered a little higher or lower."""
    commands = {"loads": f"for n in $(seq 20); do {BUSYBOX} /t/empty.ko; {KMOD} /m/brd.ko; done 2>/dev/null; true"}
    ran = play(name, commands, Guard(policy(allow=["brd"]), options=["--quiet"]), crafted(name))
    assert ran.attempts() == ["/t/empty.ko", "/m/brd.ko"] * 20
    files = [event for event in ran.outcome.events if event.get("file")]
    seen = {key: told(event for event in files if (event["file"], *judged(event)) == key)
            for key in {(event["file"], *judged(event)) for event in files}}
    assert seen == {("/t/empty.ko", "", "refuse", ""): 20, ("/m/brd.ko", "brd", "allow", "0"): 1,
                    ("/m/brd.ko", "brd", "allow", "EEXIST"): 19}


# --- ways that no insmod takes: amd64 alone, for which the loader is compiled


WAYS = ["init", "finit", "memfd", "sealed-memfd", "unlinked", "tmpfs", "hardlink"]


def loader(name: str, commands: dict[str, str], guard: Guard, cpus: int = 2, timeout: float = TIMEOUT) -> Ran:
    program = tools()["loader"]
    return play(name, {**commands, "loaded": LOADED}, guard, {"/usr/bin/loader": program, "/tmp2/modprobe": program}, cpus, timeout)


@pytest.mark.parametrize("name", AMD64)
def test_row_30_descriptors_without_a_path_and_modprobe_are_decided_and_logged(name: str) -> None:
    commands = {
        **{f"refused {way}": f"loader {way} /m/loop.ko" for way in WAYS},
        **{f"allowed {way}": f"loader --unload brd {way} /m/brd.ko" for way in WAYS},
        "modprobe finit": "/tmp2/modprobe finit /m/loop.ko", "modprobe init": "/tmp2/modprobe init /m/loop.ko",
        "bad descriptor": "/tmp2/modprobe --flags 8 finit /m/loop.ko",
    }
    ran = loader(name, commands, Guard(policy(allow=["brd"])))
    for way in WAYS:
        assert ran.steps[f"refused {way}"].output == f"{way} EPERM", way
        assert ran.steps[f"allowed {way}"].output == f"{way} ok", way
    assert ran.steps["modprobe finit"].output == "finit EPERM"
    assert ran.steps["modprobe init"].output == "init EPERM"
    assert ran.loaded() == set()

    loads = [event for event in ran.outcome.events if event["call"] != "delete_module"]
    assert [judged(event)[:2] for event in loads[:2 * len(WAYS) + 2]] == (
        [("loop", "refuse")] * len(WAYS) + [("brd", "allow")] * len(WAYS) + [("loop", "refuse")] * 2)
    # One line for each attempt: a path where there is one, else something that says what it was.
    assert len(ran.outcome.attempts) == len(commands)
    assert all(line and line.isprintable() for line in ran.outcome.attempts)
    by_way = dict(zip(WAYS, ran.outcome.attempts))
    assert (by_way["init"], by_way["finit"]) == ("loop", "/m/loop.ko")


@pytest.mark.parametrize("name", AMD64)
def test_rows_25_and_30_two_calls_on_one_file_are_two_attempts_of_one_verdict(name: str) -> None:
    """From 6.5 on the kernel tells both the same."""
    pairs = {f"refused {n}": "loader pair /m/loop.ko" for n in range(10)}
    pairs |= {f"allowed {n}": "loader --unload brd pair /m/brd.ko" for n in range(10)}
    ran = loader(name, pairs, Guard(policy(allow=["brd"])))
    for label in pairs:
        answers = re.findall(r"^pair (\w+)$", ran.steps[label].output, re.MULTILINE)
        assert len(answers) == 2, label
        if label.startswith("refused"):
            assert set(answers) == {"EPERM"}, label
        else:
            assert "ok" in answers and set(answers) <= {"ok", "EEXIST", "EBUSY"}, label
    assert Counter(ran.outcome.attempts) == {"/m/loop.ko": 20, "/m/brd.ko": 20}
    assert ran.loaded() == set()


@pytest.mark.parametrize("name", ["amd64-6.12"])
def test_flags_and_pretending_change_nothing(name: str) -> None:
    """A module that is refused is not loaded, whatever the caller would have the kernel overlook."""
    flags = [1, 2, 3, 4, 7]
    commands = {f"flags {number}": f"loader --flags {number} finit /m/loop.ko" for number in flags}
    commands |= {"init": "loader init /m/loop.ko", "busybox": f"{BUSYBOX} /m/loop.ko"}
    ran = loader(name, commands, Guard(policy(), options=["--answer", "pretend"]))
    for number in (1, 2, 3):
        assert ran.steps[f"flags {number}"].output == "finit ok", number
    assert ran.steps["init"].output == "init ok"
    assert ran.loaded() == set()
    assert len(ran.outcome.attempts) == len(commands)


@pytest.mark.parametrize("function", ["__x64_sys_init_module", "load_module", "panic"])
def test_a_process_that_jumps_to_a_watched_function_is_left_to_the_kernel(function: str) -> None:
    """The stub stops it there before the kernel does, with a stack pointer that is the process's own idea."""
    commands = {"before": "cat /proc/sys/kernel/modprobe", "jump": f"jumper {function} modprobe_path",
                "after": "cat /proc/sys/kernel/modprobe", "load": f"{KMOD} /m/loop.ko", "loaded": LOADED}
    ran = play("amd64-6.1", commands, Guard(policy(), options=["--quiet"]), {"/usr/bin/jumper": compiled(JUMPER)})
    assert ran.steps["jump"].output == "killed"
    assert ran.steps["after"].output == ran.steps["before"].output != ""
    assert ran.attempts() == ["/m/loop.ko"] and len(ran.outcome.events) == 1
    assert ran.judgement("/m/loop.ko") == ("loop", "refuse", "EPERM")
    assert ran.loaded() == set()
