# SPDX-License-Identifier: AGPL-3.0-only
"""What real programs see when their module loads are decided under `kmodctl exec`, and what is recorded of them.

insmod of kmod and of busybox, modprobe, and a whole script of them: an allowed load gets the kernel's own answer, whatever
that is on this machine; a refused one EPERM; a pretended one succeeds. Each attempt is one event, and one line of
modules.log in the order of the attempts.
"""

import collections
import gzip
import json
import lzma
import shutil
import subprocess

import pytest
from images import module_image
from machine import RELEASE
from told import told
from supervised import Supervised, compiled, counts, direct, judged, make_tree, needs_the_right_to_load

TOOLS = {"kmod": ["insmod"], "busybox": ["busybox", "insmod"]}


@pytest.fixture
def supervised(machine):
    return Supervised(machine)


@pytest.fixture(params=["debian", "crafted"])
def tree(machine, request):
    return make_tree(machine.root / "tree", request.param)


@pytest.fixture
def crafted(machine):
    return make_tree(machine.root / "tree", "crafted")


@pytest.fixture(params=TOOLS)
def insmod(request):
    if request.param == "busybox" and shutil.which("busybox") is None:
        pytest.skip("there is no busybox here")
    return TOOLS[request.param]


def same_as_direct(supervised, *command):
    """The command has kmodctl's answer, and it is what it has without: status and complaint alike."""
    ran, without = supervised.run(*command), direct(*command)
    assert (ran.code, ran.out, ran.err) == (without.code, without.out, without.err)
    assert without.code != 0, "this kernel loaded a module for another one"


def finit(supervised, file, **more):
    return counts(supervised.run(compiled("caller"), "finit", file, **more))


@needs_the_right_to_load
def test_an_allowed_load_has_the_kernels_own_answer(supervised, tree, insmod):
    same_as_direct(supervised, *insmod, tree.file("dummy"))
    assert supervised.events(), "it did not come by the supervisor at all"
    assert {judged(event)[0][0] for event in supervised.events()} == {"dummy"}
    for event in supervised.events():  # two where the kernel has no finit_module and init_module is tried after
        assert event["verdict"] == "allow" and event["answer"] not in ("0", "EPERM", "")


def test_a_refused_load_is_not_permitted_and_says_why(supervised, tree, insmod):
    ran = supervised.run(*insmod, tree.file("macvlan"))
    assert ran.code == 1
    assert "Operation not permitted" in ran.err
    program = insmod[0]
    event = supervised.events()[0]  # busybox tries init_module after it
    assert f"process {tree.file('macvlan')}: refused: macvlan is not on the allow list (by {program}[" in ran.err
    assert (event["point"], event["call"], event["file"]) == ("process", "finit_module", str(tree.file("macvlan")))
    assert judged(event) == (["macvlan"], "refuse", "EPERM")
    assert event["sha256"] == direct("sha256sum", tree.file("macvlan")).out.split()[0]
    requester = event["requester"]
    assert (requester["uid"], requester["comm"], requester["container"]) == (0, program, "")
    assert requester["exe"].rpartition("/")[2] in ("kmod", "busybox")


def test_a_pretended_load_succeeds(supervised, tree, insmod):
    ran = supervised.run(*insmod, tree.file("macvlan"), options=["--answer", "pretend"])
    assert ran.code == 0
    event = supervised.event()
    assert judged(event) == (["macvlan"], "refuse", "0")
    assert "pretended" in event["note"]


@pytest.mark.parametrize(("policy", "option", "code"), [
    ("refuse", None, 1), ("pretend", None, 0), ("refuse", "pretend", 0), ("pretend", "refuse", 1)])
def test_the_policy_says_how_to_refuse_and_the_command_line_knows_better(supervised, crafted, policy, option, code):
    supervised.write_policy(f'version = 1\n[deny]\nanswer = "{policy}"\n')
    options = ["--answer", option] if option else []
    assert supervised.run("insmod", crafted.file("dummy"), options=options).code == code


@needs_the_right_to_load
def test_pretending_is_for_what_is_refused_only(supervised, tree):
    command = ["insmod", tree.file("dummy")]
    ran, without = supervised.run(*command, options=["--answer", "pretend"]), direct(*command)
    assert (ran.code, ran.err) == (without.code, without.err)


def test_modprobe_loads_what_a_module_needs_before_it(supervised, tree):
    supervised.write_policy("version = 1\n")
    assert supervised.run(*tree.modprobe("bridge"), options=["--answer", "pretend"]).code == 0
    assert [judged(event) for event in supervised.events()] == [([name], "refuse", "0") for name in ("llc", "stp", "bridge")]
    assert [line.rpartition("/")[2] for line in supervised.attempts()] == ["llc.ko", "stp.ko", "bridge.ko"]


@needs_the_right_to_load
def test_modprobe_of_an_allowed_module_gets_as_far_as_the_kernel_lets_it(supervised, machine, tree):
    """What an allowed module needs is allowed with it; the index says what that is."""
    shutil.rmtree(machine.modules)
    shutil.copytree(tree.folder / "lib/modules" / RELEASE, machine.modules)
    supervised.write_policy('version = 1\n[allow]\nmodules = ["bridge"]\n')
    same_as_direct(supervised, *tree.modprobe("bridge"))
    first = supervised.events()[0]
    assert judged(first)[:2] == (["llc"], "allow")


def test_modprobe_is_refused_at_the_first_module_that_is(supervised, tree):
    supervised.write_policy('version = 1\n[allow]\nmodules = ["bridge"]\n[deny]\nmodules = ["llc"]\n')
    ran = supervised.run(*tree.modprobe("bridge"))
    assert ran.code == 1 and "Operation not permitted" in ran.err
    assert [judged(event) for event in supervised.events()] == [(["llc"], "refuse", "EPERM")]


@needs_the_right_to_load
def test_a_script_with_fifty_loads_in_parallel(supervised, machine):
    """As a firmware's start-up does it. Every load is answered as its own module is, and recorded once."""
    names = [f"module_{number:02}" for number in range(50)]
    for name in names:
        (machine.root / f"{name}.ko").write_bytes(module_image(name))
    supervised.write_policy(f"version = 1\n[allow]\nmodules = {json.dumps(names[::2])}\n")
    loads = "\n".join(f"({compiled('caller')} finit {machine.root}/{name}.ko >{machine.root}/{name}.said) &" for name in names)
    assert supervised.run("sh", "-c", f"{loads}\nwait").code == 0
    kernels = counts(direct(compiled("caller"), "finit", machine.root / "module_00.ko"))
    for name in names:
        expected = kernels if name in names[::2] else {"EPERM": 1}
        said = (machine.root / f"{name}.said").read_text().split()
        assert {said[1]: int(said[2])} == expected, name
    told = {tuple(judged(event)[0]): event for event in supervised.events()}
    assert len(supervised.events()) == len(told) == 50
    assert all((event["verdict"] == "allow") == (name in names[::2]) for (name,), event in told.items())
    assert collections.Counter(supervised.attempts()) == collections.Counter(f"{machine.root}/{name}.ko" for name in names)


def test_fifty_insmods_in_parallel(supervised, tree):
    loads = f"for i in $(seq 50); do insmod {tree.file('macvlan')} 2>/dev/null || echo refused & done; wait"
    ran = supervised.run("sh", "-c", loads)
    assert ran.out == "refused\n" * 50
    assert supervised.attempts() == [str(tree.file("macvlan"))] * 50
    assert told(supervised.events()) == 50
    assert len(supervised.events()) < 50, "all of one kind"


def test_the_lines_of_modules_log_are_in_the_order_of_the_attempts(supervised, machine):
    """By path and by name, refused and allowed, large and small: what takes longer to look at is not overtaken."""
    script, expected = [], []
    for number in range(30):
        name, way = f"{'dummy' if number % 3 else 'other'}_{number}", "init" if number % 4 == 1 else "finit"
        file = machine.root / f"{name}.ko"
        file.write_bytes(module_image(name) + b"\0" * (number % 5 * 300_000))
        script.append(f"{compiled('caller')} {way} {file}")
        expected.append(name if way == "init" else str(file))
    supervised.write_policy('version = 1\n[allow]\nmodules = ["dummy_1", "dummy_4"]\n')
    supervised.run("sh", "-c", "\n".join(script), options=["--quiet"])
    assert supervised.attempts() == expected


def test_an_image_without_a_path_is_recorded_by_its_name(supervised, tree):
    for way in ("init", "memfd", "sealed-memfd"):
        assert supervised.run(compiled("loader"), way, tree.file("macvlan")).out == f"{way} EPERM\n"
    assert supervised.attempts() == ["macvlan"] * 3
    assert [(event["call"], "file" in event) for event in supervised.events()] == [
        ("init_module", False), ("finit_module", False), ("finit_module", False)]


def test_row_1_a_renamed_file_is_recorded_by_its_path_and_judged_by_what_is_in_it(supervised, tree, machine):
    renamed = machine.root / "dummy.ko"
    shutil.copy(tree.file("macvlan"), renamed)
    assert supervised.run("insmod", renamed).code == 1
    assert supervised.attempts() == [str(renamed)]
    event = supervised.event()
    assert event["file"] == str(renamed) and judged(event) == (["macvlan"], "refuse", "EPERM")


@pytest.mark.parametrize("name", ["a\nb.ko", "tab\t.ko", b"\xff\xfe.ko", "ünïcode ✓.ko", "\x1b[31mred.ko", " "])
def test_a_path_is_one_line_whatever_is_in_it(supervised, crafted, machine, name):
    file = machine.root / (name.decode(errors="surrogateescape") if isinstance(name, bytes) else name)
    shutil.copy(crafted.file("macvlan"), file)
    for _ in range(2):
        assert finit(supervised, file) == {"EPERM": 1}
    line, again = supervised.attempts()
    assert line == again and line.startswith(f"{machine.root}/") and "..." not in line
    escaped = name if isinstance(name, str) and name.isprintable() else None
    assert line.isprintable() and (line == f"{machine.root}/{escaped}" if escaped else "\\x" in line)
    assert line.endswith(".ko" if name != " " else " ")


def test_the_events_go_to_standard_error_as_json(supervised, crafted):
    loads = [f"{compiled('caller')} finit {crafted.file(module)}" for module in ("macvlan", "dummy")]
    ran = supervised.run("sh", "-c", f"{loads[0]}; {loads[1]}; true", options=["--json"])
    told = sorted(map(json.loads, ran.err.splitlines()), key=lambda event: event["time"])
    assert [judged(event)[:2] for event in told] == [(["macvlan"], "refuse"), (["dummy"], "allow")]
    assert told == supervised.events()


def test_quiet_leaves_standard_error_to_the_command(supervised, crafted):
    assert supervised.run(compiled("caller"), "finit", crafted.file("macvlan"), options=["--quiet"]).err == ""
    assert judged(supervised.event()) == (["macvlan"], "refuse", "EPERM")


def test_a_policy_may_be_quiet(supervised, crafted):
    supervised.write_policy("version = 1\nquiet = true\n")
    assert supervised.run(compiled("caller"), "finit", crafted.file("macvlan")).err == ""
    assert len(supervised.events()) == 1


@needs_the_right_to_load
def test_audit_mode_refuses_nothing_and_records_what_it_would(supervised, crafted):
    supervised.write_policy('version = 1\nmode = "audit"\n')
    command = [compiled("caller"), "finit", crafted.file("macvlan")]
    ran = supervised.run(*command)
    assert ran.out == direct(*command).out
    assert "would be refused: macvlan is not on the allow list" in ran.err
    event = supervised.event()
    assert (event["verdict"], event["judged"], event["mode"]) == ("allow", "refuse", "audit")


@needs_the_right_to_load
def test_unloading_is_recorded(supervised, crafted):
    ran = supervised.run(compiled("loader"), "unload", "no_such_module")
    assert ran.out == "unload ENOENT\n" or ran.out == direct(compiled("loader"), "unload", "no_such_module").out
    event = supervised.event()
    assert (event["call"], judged(event)[0]) == ("delete_module", ["no_such_module"])
    assert supervised.attempts() == [], "it is no attempt to load"


def test_unloading_can_be_forbidden(supervised):
    supervised.write_policy('version = 1\n[allow]\nmodules = ["dummy"]\n[deny]\nunload = true\n')
    ran = supervised.run(compiled("loader"), "unload", "dummy")
    assert ran.out == "unload EPERM\n"
    assert judged(supervised.event()) == (["dummy"], "refuse", "EPERM")
    assert supervised.run(compiled("loader"), "unload", "dummy", options=["--answer", "pretend"]).out == "unload ok\n"


YAML = "plugins:\n  kmods:\n    allowlist: [dummy, stp]\n    denylist: [stp]\n    quiet: false\n"


@needs_the_right_to_load
def test_the_yaml_of_an_emulation_project_is_a_policy(supervised, crafted, machine):
    """Only the list and the framework's own module; what is denied is denied; refused means pretended."""
    (machine.root / "igloo.ko").write_bytes(module_image("igloo"))
    supervised.write_policy(YAML, "config.yaml")
    kernels = counts(direct(compiled("caller"), "finit", crafted.file("dummy")))
    for file, answer in ((crafted.file("dummy"), kernels), (machine.root / "igloo.ko", kernels), (crafted.file("stp"), {"ok": 1}),
                         (crafted.file("macvlan"), {"ok": 1})):
        assert finit(supervised, file) == answer, file
    assert [judged(event)[:2] for event in supervised.events()] == [
        (["dummy"], "allow"), (["igloo"], "allow"), (["stp"], "refuse"), (["macvlan"], "refuse")]
    assert len(supervised.attempts()) == 4


def test_row_29_the_frameworks_module_is_known_by_what_is_in_it(supervised, crafted, machine):
    shutil.copy(crafted.file("macvlan"), machine.root / "igloo.ko")
    supervised.write_policy("plugins: {kmods: {allowlist: [dummy], quiet: true}}\n", "config.yaml")
    ran = supervised.run(compiled("caller"), "finit", machine.root / "igloo.ko")
    assert (counts(ran), ran.err) == ({"ok": 1}, "")
    assert judged(supervised.event()) == (["macvlan"], "refuse", "0")


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


PACKED = {"xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32), "gz": gzip.compress, "zst": zstd}


@needs_the_right_to_load
def test_row_26_compressed_files_and_dashes_are_folded(supervised, tree, machine):
    supervised.write_policy('version = 1\n[allow]\nmodules = ["dash-ed"]\n')
    plain = machine.root / "dash-ed.ko"
    plain.write_bytes(module_image("dash_ed", modinfo_name="dash-ed"))
    refused = machine.root / "refused.ko"
    refused.write_bytes(tree.file("macvlan").read_bytes())
    kernels = counts(direct(compiled("caller"), "finit", plain))
    for suffix, pack in PACKED.items():
        for file, answer in ((plain, None), (refused, "EPERM")):
            packed = file.with_name(f"{file.name}.{suffix}")
            packed.write_bytes(pack(file.read_bytes()))
            command = [compiled("loader"), "compressed", packed]
            expected = f"compressed {answer}\n" if answer else direct(*command).out
            assert supervised.run(*command).out == expected, packed
    assert finit(supervised, plain) == kernels
    dashed, other = (["dash_ed"], "allow"), (["macvlan"], "refuse")
    assert [judged(event)[:2] for event in supervised.events()] == [dashed, other] * 3 + [dashed]
