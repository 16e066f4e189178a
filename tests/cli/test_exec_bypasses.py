# SPDX-License-Identifier: AGPL-3.0-only
"""Ways around `kmodctl exec`, and calls that are wrong in themselves: no answer may be the kernel's to an unlisted image.

The rows are those of the project's list of bypasses. Here no module could be loaded anyhow, so what shows that a call went
by the supervisor is its event, and an answer that is not what the same call gets without. tests/vm/test_process_point.py
has a kernel that would load.
"""

import os

import pytest
from images import module_image
from machine import NOBODY, has_user, run
from supervised import ENVIRONMENT, Supervised, compiled, counts, direct, judged, make_tree, needs_the_right_to_load

UNLISTED, ALLOWED = "macvlan", "dummy"
LONELY = 61234  # a user who has no other process


@pytest.fixture
def supervised(machine):
    return Supervised(machine)


@pytest.fixture
def tree(machine):
    return make_tree(machine.root / "tree", "crafted")


@pytest.fixture
def crafted(machine):
    def write(image):
        file = machine.root / "crafted.ko"
        file.write_bytes(image)
        return file

    return write


def kernels_own(*words):
    return counts(direct(compiled("caller"), *words))


def test_row_2_two_names_are_a_contradiction(supervised, crafted):
    for names in ((ALLOWED, UNLISTED), (UNLISTED, ALLOWED), (ALLOWED, "bridge")):
        assert supervised.caller("finit", crafted(module_image(names[0], modinfo_name=names[1]))) == {"EPERM": 1}
    assert {event["reason"] for event in supervised.events()} == {"contradictory-image"}


@needs_the_right_to_load
def test_row_3_records_of_modinfo_are_read_from_their_beginning(supervised, crafted):
    decoys = ["parm=xname=dummy", "xname=dummy", "description=" + "y" * 57 + "name=dummy", "name"]
    assert supervised.caller("init", crafted(module_image(UNLISTED, modinfo=decoys))) == {"EPERM": 1}
    allowed = crafted(module_image(ALLOWED, modinfo=[decoy.replace("dummy", "macvlan") for decoy in decoys]))
    assert supervised.caller("init", allowed) == kernels_own("init", allowed)
    assert supervised.caller("init", crafted(module_image(ALLOWED, modinfo=["name=macvlan"]))) == {"EPERM": 1}


@needs_the_right_to_load
@pytest.mark.parametrize("way", ["init", "memfd", "sealed-memfd", "unlinked", "hardlink", "finit"])
def test_row_8_9_every_way_to_hand_an_image_over_is_judged_alike(supervised, tree, way):
    assert supervised.run(compiled("loader"), way, tree.file(UNLISTED)).out == f"{way} EPERM\n"
    without = direct(compiled("loader"), way, tree.file(ALLOWED)).out
    assert supervised.run(compiled("loader"), way, tree.file(ALLOWED)).out == without
    assert [judged(event)[:2] for event in supervised.events()] == [([UNLISTED], "refuse"), ([ALLOWED], "allow")]


@needs_the_right_to_load
@pytest.mark.parametrize("flags", [1, 2, 3, 4, 7, 8, 0x40000000, 0x80000000, 0xffffffff])
def test_row_11_flags_do_not_change_the_decision(supervised, tree, flags):
    words = [compiled("loader"), "--flags", flags, "finit"]
    assert supervised.run(*words, tree.file(UNLISTED)).out == "finit EPERM\n"
    assert supervised.run(*words, tree.file(ALLOWED)).out == direct(*words, tree.file(ALLOWED)).out
    assert [judged(event)[1] for event in supervised.events()] == ["refuse", "allow"]


@needs_the_right_to_load
def test_row_11_a_pin_compares_the_content(supervised, tree):
    right = direct("sha256sum", tree.file(ALLOWED)).out.split()[0]
    for digest, answer in ((right, kernels_own("finit", tree.file(ALLOWED))), ("0" * 64, {"EPERM": 1})):
        supervised.write_policy('version = 1\n[allow]\nmodules = ["dummy"]\n'
                                f'[[pin]]\nmodule = "dummy"\nsha256 = "{digest}"\n')
        assert supervised.caller("finit", tree.file(ALLOWED)) == answer
    assert [judged(event)[1] for event in supervised.events()] == ["allow", "refuse"]


def malformed():
    image = module_image(ALLOWED)

    def patched(at, data):
        return image[:at] + data + image[at + len(data):]

    return {
        "nothing but a byte": b"\x7f", "the magic alone": b"\x7fELF", "half a header": image[:40], "the header alone": image[:64],
        "the first half": image[:len(image) // 2], "all but a byte": image[:-1], "no ELF": b"MZ" + image[2:],
        "65,535 sections": patched(60, b"\xff\xff"), "no sections": patched(60, b"\0\0"),
        "sections 4 GiB away": patched(40, (4 << 30).to_bytes(8, "little")),
        "sections beyond all": patched(40, b"\xff" * 8), "names beyond all": patched(62, b"\xff\xff"),
        "32 bits": patched(4, b"\1"), "big endian": patched(5, b"\2"), "text": b"not a module at all\n" * 100,
        "zeros": b"\0" * 100_000, "a name without an end": module_image("x" * 870),
        "a name with a line break": module_image("dummy\nmacvlan"), "no name": module_image(""),
    }


# These have not even the beginning of an image.
NO_MODULE = {"nothing but a byte", "the magic alone", "half a header", "no ELF", "text", "zeros"}


@pytest.mark.parametrize("kind", [kind for kind in malformed() if kind not in NO_MODULE])
def test_row_12_malformed_images_are_refused_and_the_next_one_is_answered(supervised, crafted, tree, kind):
    file = crafted(malformed()[kind])
    for way in ("init", "finit"):
        assert supervised.caller(way, file) == {"EPERM": 1}
    script = f"{compiled('caller')} finit {file}; {compiled('caller')} finit {tree.file(UNLISTED)}"
    ran = supervised.run("sh", "-c", script, options=["--answer", "pretend"])
    assert ran.out == "finit ok 1\nfinit ok 1\n"
    events = supervised.events()
    assert len(events) == 4 and {event["verdict"] for event in events} == {"refuse"}
    assert len(supervised.attempts()) == 4 and all(line.isprintable() for line in supervised.attempts())


@needs_the_right_to_load
@pytest.mark.parametrize("kind", sorted(NO_MODULE))
def test_row_12_what_is_no_module_gets_the_kernels_own_answer_whatever_the_policy_says(supervised, crafted, kind):
    file = crafted(malformed()[kind])
    for way in ("init", "finit"):
        for answer in ("refuse", "pretend"):
            assert supervised.caller(way, file, options=["--answer", answer]) == kernels_own(way, file)
    assert {(event["verdict"], event["reason"]) for event in supervised.events()} == {("refuse", "not-a-module")}


def as_nobody(supervised, *command, options=()):
    if not has_user(NOBODY):
        pytest.skip("needs a second user, and this user namespace has none")
    if not supervised.logs.exists():
        supervised.logs.mkdir()
        os.chown(supervised.logs, NOBODY, NOBODY)
    return run(supervised.words(command, *options), env=ENVIRONMENT, user=NOBODY, group=NOBODY, extra_groups=[])


def test_row_14_an_ordinary_user_may_supervise_and_loads_no_more_than_without(supervised, tree):
    for module, verdict in ((ALLOWED, "allow"), (UNLISTED, "refuse")):
        ran = as_nobody(supervised, "insmod", tree.file(module), options=["--quiet"])
        assert ran.code == 1
        assert ran.err == f"insmod: ERROR: could not insert module {tree.file(module)}: Operation not permitted\n"
        event = supervised.events()[-1]
        assert judged(event) == ([module], verdict, "EPERM")
        assert event["requester"]["uid"] == NOBODY
        assert ("CAP_SYS_MODULE" in event.get("note", "")) == (verdict == "allow")


def test_an_allowed_module_that_its_caller_may_not_load_is_said_on_standard_error(supervised, tree):
    for answer in ("refuse", "pretend"):
        ran = as_nobody(supervised, "insmod", tree.file(ALLOWED), options=["--answer", answer])
        assert ran.code == 1
        assert "not carried out: the caller has no CAP_SYS_MODULE" in ran.err


def test_an_ordinary_users_command_gains_nothing_by_set_user_id(supervised):
    ran = as_nobody(supervised, "grep", "-E", "^(NoNewPrivs|Uid)", "/proc/self/status")
    assert ran.out.split() == ["Uid:", *[str(NOBODY)] * 4, "NoNewPrivs:", "1"]


def test_an_ordinary_users_pretended_loads_succeed(supervised, tree):
    assert as_nobody(supervised, "insmod", tree.file(UNLISTED), options=["--answer", "pretend"]).code == 0


@needs_the_right_to_load
@pytest.mark.parametrize(("around", "note"), [
    (["unshare", "--user", "--map-root-user"], "of another user namespace"),
    (["setpriv", "--bounding-set=-sys_module"], "has no CAP_SYS_MODULE"),
    (["setpriv", "--reuid=65534", "--clear-groups"], "has no CAP_SYS_MODULE")], ids=["own namespace", "dropped", "other user"])
def test_row_14_who_may_not_load_may_not_by_the_supervisor_either(supervised, tree, around, note):
    ran = supervised.run(*around, compiled("caller"), "finit", tree.file(ALLOWED))
    assert counts(ran) == {"EPERM": 1}
    event = supervised.event()
    assert judged(event) == ([ALLOWED], "allow", "EPERM")
    assert note in event["note"]
    assert note in ran.err


SERVING = 'version = 1\n[allow]\nmodules = ["loop"]\nuser_namespaces = true\n'


@needs_the_right_to_load
def test_row_14_for_a_user_namespace_the_policy_may_have_this_machines_own_file_loaded(supervised, crafted):
    supervised.write_policy(SERVING)
    file = crafted(module_image("loop"))
    for way in ("init", "finit"):
        ran = supervised.run("unshare", "--user", "--map-root-user", compiled("caller"), way, file)
        assert counts(ran) == kernels_own("finit", file), "the kernel was asked"
    for event in supervised.events():
        own = next(word for word in event["note"].split() if word.startswith("/")).rstrip(",")
        assert own.startswith(str(supervised.machine.root)) and own.endswith("/loop.ko"), event


@needs_the_right_to_load
def test_row_14_no_other_user_namespace_is_served(supervised, crafted):
    supervised.write_policy(SERVING)
    ran = supervised.run("setpriv", "--reuid=65534", "--clear-groups", "unshare", "--user", "--map-root-user", compiled("caller"),
                         "finit", crafted(module_image("loop")))
    assert counts(ran) == {"EPERM": 1}
    assert "made by user 65534" in ran.err


def test_a_kmodctl_that_may_load_nothing_says_that_it_serves_nobody(supervised):
    supervised.write_policy(SERVING)
    ran = as_nobody(supervised, "true")
    assert ran.code == 0
    assert "no user namespace is served: kmodctl has no CAP_SYS_MODULE" in ran.err


def test_row_14_a_capability_that_is_not_in_effect_does_not_count(supervised, tree):
    assert supervised.caller("no-effective", tree.file(ALLOWED)) == {"EPERM": 1}
    assert judged(supervised.event()) == ([ALLOWED], "allow", "EPERM")
    assert "has no CAP_SYS_MODULE" in supervised.event()["note"]


def test_row_14_the_same_of_taking_modules_away(supervised):
    ran = supervised.run("setpriv", "--bounding-set=-sys_module", compiled("loader"), "unload", "dummy")
    assert ran.out == "unload EPERM\n"
    assert "has no CAP_SYS_MODULE" in supervised.event()["note"]


def entry_is_there(table):
    """Whether a call through it is answered at all: int 0x80 may be fatal."""
    return direct(compiled("caller"), f"{table}-finit", "/dev/null").code in (0, 1)


@pytest.mark.parametrize("table", ["i386", "x32"])
def test_row_15_the_other_system_call_tables_are_covered(supervised, tree, table):
    if not entry_is_there(table):
        pytest.skip(f"this kernel has no entry for {table} programs")
    for call in ("init", "finit"):
        assert supervised.caller(f"{table}-{call}", tree.file(UNLISTED)) == {"EPERM": 1}
        assert supervised.caller(f"{table}-{call}", tree.file(UNLISTED), options=["--answer", "pretend"]) == {"ok": 1}
    supervised.write_policy("version = 1\n[deny]\nunload = true\n")
    assert supervised.caller(f"{table}-unload", "dummy") == {"EPERM": 1}
    assert [(event["call"], *judged(event)) for event in supervised.events()] == [
        ("init_module", [UNLISTED], "refuse", "EPERM"), ("init_module", [UNLISTED], "refuse", "0"),
        ("finit_module", [UNLISTED], "refuse", "EPERM"), ("finit_module", [UNLISTED], "refuse", "0"),
        ("delete_module", ["dummy"], "refuse", "EPERM")]


@needs_the_right_to_load
@pytest.mark.parametrize("table", ["i386", "x32"])
def test_row_15_an_allowed_load_through_them_is_one_like_any_other(supervised, tree, table):
    if not entry_is_there(table):
        pytest.skip(f"this kernel has no entry for {table} programs")
    for call in ("init", "finit"):
        assert supervised.caller(f"{table}-{call}", tree.file(ALLOWED)) == kernels_own(call, tree.file(ALLOWED))
    assert [judged(event)[:2] for event in supervised.events()] == [([ALLOWED], "allow")] * 2


# What the kernel says where it has modules; tests/vm/test_process_point.py compares.
WRONG = {"fd-closed": "EBADF", "fd-negative": "EBADF", "fd-path": "EBADF", "fd-write": "EBADF", "fd-pipe": "EINVAL",
         "fd-socket": "EINVAL", "fd-empty": "EINVAL", "init-null": "EFAULT", "init-kernel": "EFAULT", "init-wrap": "EFAULT",
         "init-hole": "EFAULT", "init-none": "ENOEXEC", "parameters-none": "EFAULT", "parameters-endless": "EFAULT"}


@needs_the_right_to_load
@pytest.mark.parametrize("way", [*WRONG, "fd-directory"])
def test_a_call_that_is_wrong_in_itself_fails_as_the_kernel_says(supervised, tree, way):
    argument = tree.folder if way == "fd-directory" else tree.file(ALLOWED)
    for options in ([], ["--answer", "pretend"]):
        assert supervised.caller(way, argument, options=options) == {WRONG.get(way, "EINVAL"): 1}
    first, second = supervised.events()
    assert first["answer"] == second["answer"] == WRONG.get(way, "EINVAL")
    if not way.startswith("parameters"):
        assert first["verdict"] == "refuse"


@pytest.mark.parametrize("way", ["init-huge", "init-endless"])
def test_an_image_of_any_length_is_not_waited_for(supervised, tree, way):
    assert supervised.caller(way, tree.file(ALLOWED)) == {"EFBIG": 1}
    assert judged(supervised.event())[1:] == ("refuse", "EFBIG")


@needs_the_right_to_load
def test_parameters_may_end_where_memory_does_and_are_bounded(supervised, tree):
    assert supervised.caller("parameters-edge", tree.file(ALLOWED)) == kernels_own("finit", tree.file(ALLOWED))
    assert supervised.caller("parameters-long", tree.file(ALLOWED)) == {"E2BIG": 1}
    assert "parameters" in supervised.events()[-1]["note"]


@needs_the_right_to_load
@pytest.mark.parametrize("way", ["thread", "own-descriptors"])
def test_the_thread_that_calls_is_the_one_that_is_looked_at(supervised, tree, way):
    assert supervised.caller(way, tree.file(UNLISTED)) == {"EPERM": 1}
    assert supervised.caller(way, tree.file(ALLOWED)) == kernels_own("finit", tree.file(ALLOWED))
    assert [judged(event)[:2] for event in supervised.events()] == [([UNLISTED], "refuse"), ([ALLOWED], "allow")]
    assert supervised.attempts() == [str(tree.file(UNLISTED)), str(tree.file(ALLOWED))]


def test_a_descriptor_of_other_threads_is_none_of_the_callers(supervised, tree):
    assert supervised.caller("others-descriptor", tree.file(ALLOWED)) == {"EBADF": 1}


def test_a_caller_whose_name_is_no_text_is_recorded(supervised, tree):
    ran = supervised.run(compiled("caller"), "odd-name", tree.file(UNLISTED))
    assert counts(ran) == {"EPERM": 1}
    assert len(ran.err.splitlines()) == 1 and ran.err.rstrip("\n").isprintable()
    assert judged(supervised.event()) == ([UNLISTED], "refuse", "EPERM")


@pytest.mark.parametrize("script", ["sh -c '({load})'", "setsid -w {load}", "sh -c '(setsid -w {load}) & wait'",
                                    "env -i sh -c 'exec {load}'", "unshare --mount --pid --fork {load}", "nice timeout 600 {load}"])
def test_descendants_are_supervised_however_far_off(supervised, tree, script):
    if "unshare" in script and not has_user(NOBODY):
        pytest.skip("needs the right to make a pid namespace")
    ran = supervised.run("sh", "-c", script.format(load=f"{compiled('caller')} finit {tree.file(UNLISTED)}"))
    assert counts(ran) == {"EPERM": 1}
    assert judged(supervised.event()) == ([UNLISTED], "refuse", "EPERM")


def test_a_daemon_that_has_left_its_parents_is_supervised(supervised, tree, machine):
    """Forked twice, in a session of its own, adopted by another process: with --wait its loads are answered."""
    load = f"{compiled('caller')} finit {tree.file(UNLISTED)} >{machine.root}/said"
    ran = supervised.run("sh", "-c", f"(setsid sh -c '({load}) &' &) >/dev/null 2>&1; exit 3", options=["--wait"])
    assert ran.code == 3
    assert (machine.root / "said").read_text() == "finit EPERM 1\n"
    assert judged(supervised.event()) == ([UNLISTED], "refuse", "EPERM")


def test_the_command_cannot_look_into_kmodctl(supervised):
    """Nor can it have its descriptors: as an ordinary user it may not even see which they are."""
    ran = as_nobody(supervised, "sh", "-c", "ls /proc/$PPID/fd >/dev/null; cat /proc/$PPID/environ; kill -0 $PPID")
    assert ran.err.count("Permission denied") == 2


@pytest.mark.parametrize("processes", range(1, 13))
def test_a_full_process_table_does_not_end_the_supervision(supervised, tree, processes):
    """With no room for a thread either it begins and then answers all calls, or the command does not run on without it."""
    if not has_user(LONELY):
        pytest.skip("needs a user of its own, and this user namespace has none")
    supervised.logs.mkdir()
    os.chown(supervised.logs, LONELY, LONELY)
    command = supervised.words([compiled("caller"), "--times", 20, "finit", tree.file(UNLISTED)], "--quiet")
    ran = run(["prlimit", f"--nproc={processes}", *command], env=ENVIRONMENT, user=LONELY, group=LONELY, extra_groups=[])
    assert (ran.code, ran.out) == (1, "finit EPERM 20\n") or ran.out == "" and ran.code > 0 and ran.err.startswith("kmodctl"), ran
