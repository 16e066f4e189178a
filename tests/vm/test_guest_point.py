# SPDX-License-Identifier: AGPL-3.0-only
"""The guest point on every machine of the table: what `kmodctl guest` decides about an emulated machine from outside.

Each guest is booted twice: with a policy that refuses, and with none, when everything but the framework's igloo is
pretended. The guest itself has the last word, by /proc/modules. What a test names a row is one of docs/bypasses.md.
Killing kmodctl and its mistakes: test_guest_point_life.py. Many loads at a time: test_guest_point_load.py.
"""

import pytest

from guard import policy
from guest_scenarios import BUSYBOX, GUESTS, KMOD, LOADED, Ran, crafted, judged, play
from machine.foreign_guest import Guard

POLICY = policy(allow=["brd", "crc-itu-t", "nls_cp437", "nlmon", "sunrpc"]) + "unload = true\n"

# In the order of the attempts. Files in /m are what they are called, those in /t are not.
REFUSING = {
    "allowed": f"{KMOD} /m/brd.ko rd_nr=2",
    "parameter": "cat /sys/module/brd/parameters/rd_nr",
    "allowed by busybox": f"{BUSYBOX} /m/crc-itu-t.ko",
    "large": f"{KMOD} /m/sunrpc.ko",
    "refused": f"{KMOD} /m/loop.ko max_loop=3",
    "refused by busybox": f"{BUSYBOX} /m/nbd.ko nbds_max=3",
    "unlisted by an allowed name": f"{BUSYBOX} /t/brd.ko",
    "allowed by another name": f"{BUSYBOX} /t/e1000e.ko",
    "two names": f"{BUSYBOX} /t/says-nlmon.ko",
    "two names, the other way round": f"{BUSYBOX} /t/says-dummy.ko",
    "half": f"{BUSYBOX} /t/half.ko",
    "garbage": f"{BUSYBOX} /t/garbage.ko",
    "text": f"{BUSYBOX} /t/text.ko",
    "packed": f"{BUSYBOX} /t/packed.ko",
    "packed and allowed": f"{BUSYBOX} /t/nls_cp437.ko.xz",
    "empty": f"{BUSYBOX} /t/empty.ko",
    "allowed again": f"{KMOD} /m/brd.ko",
    "unload": "/usr/sbin/rmmod brd",
    "loaded": LOADED,
}

MODPROBE = ("mkdir -p /lib/modules/$(uname -r) && cd /lib/modules/$(uname -r) && cp /m/nbd.ko . && echo nbd.ko: >modules.dep && "
            "/usr/bin/modprobe nbd")
BY_DEFAULT = {
    "pretended": f"{KMOD} /m/brd.ko rd_nr=2",
    "pretended by busybox": f"{BUSYBOX} /m/loop.ko max_loop=3",
    "pretended again": f"{KMOD} /m/brd.ko",
    "large": f"{BUSYBOX} /m/sunrpc.ko",
    "nothing yet": LOADED,
    "by the framework's file name": f"mkdir /igloo && cp /m/loop.ko /igloo/igloo.ko && {BUSYBOX} /igloo/igloo.ko",
    "with the framework's name as an argument": f"{KMOD} /m/nlmon.ko igloo igloo.ko /igloo/igloo.ko",
    "says igloo": f"{BUSYBOX} /t/says-igloo.ko",
    "half": f"{BUSYBOX} /t/half-igloo.ko",
    "garbage": f"{BUSYBOX} /t/garbage.ko",
    "text": f"{BUSYBOX} /t/text.ko",
    "packed": f"{BUSYBOX} /t/packed.ko",
    "packed framework": f"{BUSYBOX} /t/igloo.ko.xz && /usr/sbin/rmmod igloo",
    "modprobe": MODPROBE,
    "igloo": f"{KMOD} /t/igloo.ko",
    "loaded": LOADED,
    "unload": "/usr/sbin/rmmod igloo",
    "unloaded": LOADED,
}


def files_of(commands: dict[str, str]) -> dict[str, str]:
    """The file that each of these commands loads, by label."""
    words = {label: [word for word in command.split() if word.startswith(("/m/", "/t/", "/igloo/"))]
             for label, command in commands.items() if "insmod" in command}
    # A copy is loaded by its new name, and what follows the file is a parameter.
    return {label: found[-1] if "cp " in commands[label] else found[0] for label, found in words.items()}


@pytest.fixture(scope="module", params=GUESTS)
def guest(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def refusing(guest: str) -> Ran:
    return play(guest, REFUSING, Guard(POLICY), crafted(guest))


@pytest.fixture(scope="module")
def by_default(guest: str) -> Ran:
    return play(guest, BY_DEFAULT, Guard(), crafted(guest))


# --- a policy that refuses


def test_an_allowed_module_is_loaded_with_its_parameter(refusing: Ran) -> None:
    for label in ("allowed", "allowed by busybox", "large"):
        assert (refusing.steps[label].status, refusing.steps[label].output) == (0, ""), label
    assert refusing.steps["parameter"].output == "2"
    assert refusing.loaded() >= {"brd", "crc_itu_t", "sunrpc"}
    assert refusing.judgement("/m/brd.ko")[:2] == ("brd", "allow")
    assert refusing.judgement("/m/crc-itu-t.ko")[:2] == ("crc_itu_t", "allow")


def test_a_refused_module_is_not_permitted(refusing: Ran) -> None:
    kmods, busyboxes = refusing.steps["refused"], refusing.steps["refused by busybox"]
    assert (kmods.status, kmods.output) == (1, "insmod: ERROR: could not insert module /m/loop.ko: Operation not permitted")
    assert (busyboxes.status, busyboxes.output) == (1, "insmod: can't insert '/m/nbd.ko': Operation not permitted")
    assert refusing.judgement("/m/loop.ko") == ("loop", "refuse", "EPERM")
    assert refusing.judgement("/m/nbd.ko") == ("nbd", "refuse", "EPERM")
    assert refusing.loaded() & {"loop", "nbd"} == set()
    assert "loop is not on the allow list" in refusing.outcome.errors


def test_the_calls_are_recorded(refusing: Ran) -> None:
    """busybox tries init_module after finit_module has failed, which is one attempt; kmod does not."""
    (event,) = refusing.events("/m/loop.ko")
    assert event["call"] == "finit_module"
    nbds = [event for event in refusing.outcome.events if judged(event)[0] == "nbd"]
    assert [(event["call"], *judged(event)) for event in nbds if event.get("file", "/m/nbd.ko") == "/m/nbd.ko"] == [
        ("finit_module", "nbd", "refuse", "EPERM")]


def test_every_attempt_is_in_the_log_in_its_order(refusing: Ran) -> None:
    assert refusing.attempts() == list(files_of(REFUSING).values())


def test_row_1_the_name_inside_counts(refusing: Ran) -> None:
    assert refusing.steps["unlisted by an allowed name"].status == 1
    assert refusing.judgement("/t/brd.ko") == ("loop", "refuse", "EPERM")
    assert refusing.steps["allowed by another name"].status == 0
    assert refusing.judgement("/t/e1000e.ko")[:2] == ("nlmon", "allow")
    assert "nlmon" in refusing.loaded()


def test_row_2_two_names_are_a_contradiction(refusing: Ran) -> None:
    for label, file in (("two names", "/t/says-nlmon.ko"), ("two names, the other way round", "/t/says-dummy.ko")):
        assert refusing.steps[label].status == 1
        assert refusing.events(file)[0]["reason"] == "contradictory-image"
    assert refusing.loaded() & {"dummy", "nbd"} == set()


def test_row_12_half_an_image_is_refused(refusing: Ran) -> None:
    step = refusing.steps["half"]
    assert (step.status, step.output) == (1, "insmod: can't insert '/t/half.ko': Operation not permitted")
    assert refusing.judgement("/t/half.ko")[1:] == ("refuse", "EPERM")


def test_row_12_what_is_no_module_is_the_kernels_to_answer_and_the_next_one_is_answered(refusing: Ran) -> None:
    for label in ("garbage", "text"):
        step, file = refusing.steps[label], files_of(REFUSING)[label]
        assert (step.status, step.output) == (8, f"insmod: can't insert '{file}': invalid module format")
        assert refusing.judgement(file) == ("", "refuse", "ENOEXEC")
        assert refusing.events(file)[0]["reason"] == "not-a-module"
    assert refusing.steps["empty"].status != 0
    assert refusing.events("/t/empty.ko")[0]["verdict"] == "refuse"
    assert refusing.steps["allowed again"].output.endswith("File exists"), "the kernel's own answer"


def test_what_busybox_first_hands_over_packed_is_decided_on_when_it_is_unpacked(refusing: Ran) -> None:
    assert refusing.judgement("/t/packed.ko") == ("", "refuse", "ENOEXEC")
    assert refusing.steps["packed"].output == "insmod: can't insert '/t/packed.ko': Operation not permitted"
    # A newer busybox on a kernel that unpacks modules itself asks it to, by the file's name: there is one call.
    assert refusing.judgement("/t/nls_cp437.ko.xz") in (("", "refuse", "ENOEXEC"), ("nls_cp437", "allow", "0"))
    assert (refusing.steps["packed and allowed"].status, refusing.steps["packed and allowed"].output) == (0, "")
    assert "nls_cp437" in refusing.loaded()


def test_taking_a_module_away_can_be_forbidden(refusing: Ran) -> None:
    assert refusing.steps["unload"].status == 1
    assert "brd" in refusing.loaded()
    unload = refusing.outcome.events[-1]
    assert (unload["call"], *judged(unload)) == ("delete_module", "brd", "refuse", "EPERM")


def test_nothing_else_was_loaded(refusing: Ran) -> None:
    assert refusing.loaded() == {"brd", "crc_itu_t", "nls_cp437", "nlmon", "sunrpc"}


# --- without a policy


def test_without_a_policy_all_but_the_framework_is_pretended(by_default: Ran) -> None:
    for label in ("pretended", "pretended by busybox", "pretended again", "large"):
        assert (by_default.steps[label].status, by_default.steps[label].output) == (0, ""), label
    assert by_default.loaded("nothing yet") == set()
    for file, module in (("/m/brd.ko", "brd"), ("/m/loop.ko", "loop"), ("/m/sunrpc.ko", "sunrpc")):
        assert by_default.judgement(file) == (module, "refuse", "0")
    assert len(by_default.events("/m/brd.ko")) == 2


def test_row_29_the_framework_is_known_by_its_content_and_not_by_arguments(by_default: Ran) -> None:
    for label, file in (("by the framework's file name", "/igloo/igloo.ko"), ("says igloo", "/t/says-igloo.ko"),
                        ("with the framework's name as an argument", "/m/nlmon.ko"), ("half", "/t/half-igloo.ko")):
        assert (by_default.steps[label].status, by_default.steps[label].output) == (0, ""), label
        assert by_default.judgement(file)[1:] == ("refuse", "0"), label
    assert by_default.steps["igloo"].status == 0
    assert by_default.judgement("/t/igloo.ko")[:2] == ("igloo", "allow")
    assert by_default.loaded() == {"igloo"}


def test_row_30_a_load_by_modprobe_is_decided_and_logged(by_default: Ran) -> None:
    step = by_default.steps["modprobe"]
    assert (step.status, step.output) == (0, "")
    (file,) = [line for line in by_default.attempts() if "/lib/modules/" in line]
    assert file.endswith("/nbd.ko")
    assert by_default.judgement(file) == ("nbd", "refuse", "0")


def test_what_is_no_module_is_not_pretended(by_default: Ran) -> None:
    for label in ("garbage", "text"):
        assert by_default.steps[label].output.endswith("invalid module format"), label
        assert by_default.judgement(f"/t/{label}.ko") == ("", "refuse", "ENOEXEC")


def test_an_allowed_module_loads_packed_where_the_others_are_pretended(by_default: Ran) -> None:
    """busybox hands it over as it is first; told of success, it would never unpack it."""
    for label in ("packed", "packed framework"):
        assert (by_default.steps[label].status, by_default.steps[label].output) == (0, ""), label
    assert by_default.judgement("/t/packed.ko") == ("", "refuse", "ENOEXEC")


def test_all_attempts_are_in_the_log(by_default: Ran) -> None:
    """A script that is told of success does not try again: there is one line for each."""
    again = {"garbage": ["?"], "text": ["?"], "packed": ["loop"], "packed framework": ["igloo"]}
    files = files_of(BY_DEFAULT)
    if "after" not in by_default.events(files["packed framework"])[0]:  # the kernel was asked to unpack it
        del again["packed framework"]
    expected = [line for label, file in files.items() for line in [file, *again.get(label, [])]]
    found = [line for line in by_default.outcome.attempts if not line.endswith("/nbd.ko")]
    assert found == expected


def test_taking_a_module_away_is_recorded_and_no_attempt(by_default: Ran) -> None:
    assert by_default.steps["unload"].status == 0
    assert by_default.loaded("unloaded") == set()
    assert by_default.outcome.events[-1]["call"] == "delete_module"
    assert judged(by_default.outcome.events[-1])[:2] == ("igloo", "allow")
