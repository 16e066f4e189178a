# SPDX-License-Identifier: AGPL-3.0-only
"""The process point on real kernels: what `kmodctl exec` allows really loads, and what it does not allow does not.

tests/cli/test_exec_*.py show the same without modules; here /proc/modules has the last word. Two kernels: 6.1, whose
modules are plain files and whose descriptors of single threads cannot be had by pidfd, and 6.12, with compressed modules.
Tests that answer a row of docs/bypasses.md have its number in their name.
"""

import gzip
import json
import lzma
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard import DEPMOD, KERNELS, UNPACK, Guard, Lasting, file_of, policy, raw_file_of
from images import module_image
from machine import Machine, Result
from machine.channel import HANG
from machine.guest import compiled
from machine.prepared import prepared
from machine.states import State
from told import told

pytestmark = pytest.mark.restored

GUEST = Path(__file__).parent / "guest"
PROCESSORS = 2  # for those who race the supervisor
EXEC_POLICY = "/tmp/exec.toml"
LOGS = "/tmp/log"
ALLOWED = ["kmg_param", "kmg_needs_base", "kmg_slow", "kmg_outer", "kmg_crafted"]


@pytest.fixture(scope="module", params=KERNELS)
def machine(request: pytest.FixtureRequest) -> tuple[str, State]:
    programs = {f"/usr/bin/{name}": compiled(GUEST / f"{name}.cpp") for name in ("caller", "racer")}

    def prepare(vm: Machine) -> None:
        # The kernel complains of every image that it refuses.
        vm.run(f"dmesg -n 1 && mkdir -p /var/log && mkdir -m 777 {LOGS} && {UNPACK}", check=True)
        vm.save("ready")

    states = prepared(f"process_point-{request.param}", request.param, prepare, key=[Path(__file__)], files=programs,
                      cpus=PROCESSORS)
    return request.param, states["ready"]


class Supervised:
    """`kmodctl exec` in one machine, by a policy of its own."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm
        self.write_policy(allow=ALLOWED)

    def write_policy(self, **lists: object) -> None:
        self.vm.put(EXEC_POLICY, policy(**lists).encode())  # type: ignore[arg-type]

    def words(self, command: str, options: str = "") -> str:
        quoted = command.replace("'", "'\\''")
        return f"kmodctl exec --policy {EXEC_POLICY} --log-dir {LOGS} {options} -- sh -c '{quoted}'"

    def run(self, command: str, options: str = "", user: str = "root", timeout: float = HANG) -> Result:
        return self.vm.run(self.words(command, options), user=user, timeout=timeout)

    def events(self) -> list[dict]:
        """All of them, in the order of the attempts. Compressed on their way: those of a race are a megabyte."""
        lines = gzip.decompress(self.vm.run(f"gzip -c {LOGS}/events.jsonl", check=True).raw).decode().splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda event: event["time"])

    def judged(self) -> list[tuple[str, str, str]]:
        """Module, verdict and answer of each."""
        return [("".join(module["module"] for module in event["modules"]), event["verdict"], event["answer"])
                for event in self.events()]

    def attempts(self) -> list[str]:
        return self.vm.get(f"{LOGS}/modules.log").decode().splitlines()

    def file(self, module: str) -> str:
        return file_of(self.vm, module)

    def raw_file(self, module: str) -> str:
        """An uncompressed copy of the module's file."""
        return raw_file_of(module)


@pytest.fixture(scope="module")
def lasting(machine: tuple[str, State]) -> Iterator[Lasting]:
    with Lasting(lambda: going_on(machine)) as machines:
        yield machines


def going_on(machine: tuple[str, State]) -> Machine:
    kernel, state = machine
    return Machine(kernel, state=state, cpus=PROCESSORS)


@pytest.fixture
def supervised(machine: tuple[str, State], lasting: Lasting, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    if request.node.get_closest_marker("leaves_nothing"):
        with lasting.lent(request.session) as vm:
            vm.run(f"rm -rf {LOGS} && mkdir -m 777 {LOGS}", check=True)
            yield Supervised(vm)
    else:
        with going_on(machine) as vm:
            yield Supervised(vm)


def is_loaded(supervised: Supervised, module: str) -> bool:
    return module in supervised.vm.loaded()


@pytest.mark.leaves_nothing
@pytest.mark.parametrize("tool", ["insmod", "busybox insmod", "modprobe"])
def test_an_allowed_module_is_loaded_with_its_parameters(supervised: Supervised, tool: str) -> None:
    argument = "kmg_param" if tool == "modprobe" else supervised.raw_file("kmg_param")
    ran = supervised.run(f"{tool} {argument} number=7 text=a.b")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "", "")
    assert is_loaded(supervised, "kmg_param")
    assert supervised.vm.run("cat /sys/module/kmg_param/parameters/number /sys/module/kmg_param/parameters/text").stdout == "7\na.b\n"
    assert supervised.judged() == [("kmg_param", "allow", "0")]


@pytest.mark.leaves_nothing
@pytest.mark.parametrize("tool", ["insmod", "busybox insmod", "modprobe"])
def test_a_refused_and_a_pretended_module_are_not_loaded(supervised: Supervised, tool: str) -> None:
    argument = "kmg_inner" if tool == "modprobe" else supervised.raw_file("kmg_inner")
    ran = supervised.run(f"{tool} {argument}")
    assert ran.status == 1 and "Operation not permitted" in ran.stderr
    assert "kmg_inner is not on the allow list" in ran.stderr
    assert supervised.run(f"{tool} {argument}", "--answer pretend").status == 0
    assert not is_loaded(supervised, "kmg_inner")
    assert {judged[:2] for judged in supervised.judged()} == {("kmg_inner", "refuse")}
    assert {judged[2] for judged in supervised.judged()} == {"EPERM", "0"}


@pytest.mark.leaves_nothing
def test_the_kernels_own_refusal_is_handed_back(supervised: Supervised) -> None:
    supervised.write_policy(allow=["kmg_fail", "kmg_param", "kmg_crafted"])
    supervised.vm.put("/tmp/crafted.ko", module_image("kmg_crafted"))
    for file, error in ((supervised.raw_file("kmg_fail"), "ENODEV"), ("/tmp/crafted.ko", "ENOEXEC"),
                        (supervised.raw_file("kmg_param"), "ok"), (supervised.raw_file("kmg_param"), "EEXIST")):
        for way in ("finit", "init") if error != "ok" else ("finit",):
            assert supervised.run(f"caller {way} {file}").stdout == f"{way} {error} 1\n"
    assert {judged[1] for judged in supervised.judged()} == {"allow"}


def test_a_loaded_module_that_is_not_allowed_exists_as_the_kernel_says(supervised: Supervised) -> None:
    """EPERM, and a refusal in the log, where insmod alone says "File exists" and scripts go on."""
    file = supervised.raw_file("kmg_inner")
    calls = f"caller finit {file}; caller init {file}"
    supervised.vm.run(f"insmod {file}", check=True)
    alone = supervised.vm.run(calls).stdout
    assert supervised.run(calls, "--quiet").stdout == alone == "finit EEXIST 1\ninit EEXIST 1\n"
    assert supervised.judged() == [("kmg_inner", "allow", "EEXIST")] * 2
    assert {event["reason"] for event in supervised.events()} == {"already-loaded"}
    supervised.vm.run("rmmod kmg_inner", check=True)
    assert supervised.run(calls, "--quiet").stdout == "finit EPERM 1\ninit EPERM 1\n"
    assert not is_loaded(supervised, "kmg_inner")


@pytest.mark.leaves_nothing
def test_modprobe_loads_what_an_allowed_module_needs(supervised: Supervised) -> None:
    assert supervised.run("modprobe kmg_needs_base").status == 0
    assert {"kmg_base", "kmg_needs_base"} <= supervised.vm.loaded()
    assert supervised.judged() == [("kmg_base", "allow", "0"), ("kmg_needs_base", "allow", "0")]


@pytest.mark.leaves_nothing
def test_what_an_allowed_module_needs_may_be_denied(supervised: Supervised) -> None:
    supervised.write_policy(allow=["kmg_needs_base"], deny=["kmg_base"])
    assert supervised.run("modprobe kmg_needs_base").status == 1
    assert not {"kmg_base", "kmg_needs_base"} & supervised.vm.loaded()


def test_a_module_that_depmod_has_not_seen_is_judged_by_the_aliases_that_its_image_has(supervised: Supervised) -> None:
    """With kmg-twins denied, kmg_twin_a, of which it is an alias, was allowed by its name."""
    supervised.write_policy(allow=["kmg_twin_a", "kmg_param"], deny_aliases=["kmg-twin[rs]"])
    for module in ("kmg_twin_a", "kmg_param"):
        supervised.vm.run(f"rm {file_of(supervised.vm, module)}", check=True)
    supervised.vm.run(DEPMOD, check=True)
    assert supervised.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"
    assert supervised.run(f"loader init {raw_file_of('kmg_param')}").stdout == "init ok\n"
    supervised.vm.run("rm /lib/modules/$(uname -r)/modules.dep.bin", check=True)
    assert supervised.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"


@pytest.mark.leaves_nothing
def test_compressed_modules_load_in_every_way_that_plain_ones_do(supervised: Supervised) -> None:
    allowed, unlisted = supervised.file("kmg_param"), supervised.file("kmg_inner")
    if not allowed.endswith(".xz"):
        # This kernel unpacks none: its own answer is what an allowed one gets.
        assert supervised.run(f"loader compressed {allowed}").stdout == supervised.vm.run(f"loader compressed {allowed}").stdout
        assert supervised.run(f"loader compressed {unlisted}").stdout == "compressed EPERM\n"
        return
    for load in (f"insmod {allowed}", "modprobe kmg_param", f"loader compressed {allowed} >/dev/null"):
        assert supervised.run(f"{load} && rmmod kmg_param").status == 0, load
    for load in (f"insmod {unlisted}", "modprobe kmg_inner", f"loader compressed {unlisted}"):
        assert supervised.run(load).status == 1, load
    supervised.vm.run(f"cp {unlisted} /tmp/kmg_param.ko.xz", check=True)
    assert supervised.run("loader compressed /tmp/kmg_param.ko.xz").stdout == "compressed EPERM\n"
    # Without the flag the kernel takes what is packed for no module at all, and whoever hands it over goes by that.
    for file in (allowed, unlisted):
        for answer in ("", "--answer pretend"):
            assert supervised.run(f"loader finit {file}", answer).stdout == "finit ENOEXEC\n"
    assert supervised.run(f"busybox insmod {allowed} && rmmod kmg_param", "--answer pretend").status == 0
    assert not is_loaded(supervised, "kmg_inner")


def real_modules(vm: Machine, count: int) -> list[str]:
    """Modules of the kernel's own that load on any machine, with other modules that they need."""
    folder = vm.kernel.modules / "kernel/net"
    files = [*sorted(folder.glob("netfilter/xt_*.ko*")), *sorted(folder.glob("sched/*.ko*"))]
    names = [re.sub(r"\.ko.*", "", file.name) for file in files]
    assert len(names) >= count
    return names[:count]


def test_fifty_real_modules_in_parallel(supervised: Supervised) -> None:
    names = real_modules(supervised.vm, 50)
    supervised.write_policy(allow=names)
    ran = supervised.run(f"for m in {' '.join(names)}; do (modprobe $m || echo failed $m) & done; wait", timeout=300)
    assert (ran.stdout, ran.stderr) == ("", "")
    assert set(names) <= supervised.vm.loaded()
    judged = supervised.judged()
    assert set(names) <= {module for module, _, _ in judged}
    # Several needed the same one at the same time: whoever comes late is told so by the kernel.
    assert {answer for _, _, answer in judged} <= {"0", "EEXIST"} and {verdict for _, verdict, _ in judged} == {"allow"}
    assert len(supervised.attempts()) == len(judged)


def test_row_17_a_module_whose_init_asks_for_another_does_not_wait_for_ever(supervised: Supervised) -> None:
    """The kernel's own helper brings the other one: it does not descend from the command."""
    assert supervised.run("modprobe kmg_outer").status == 0
    assert {"kmg_outer", "kmg_inner"} <= supervised.vm.loaded()
    assert supervised.vm.run("cat /sys/module/kmg_outer/parameters/result").stdout == "0\n"
    assert supervised.judged() == [("kmg_outer", "allow", "0")]


@pytest.mark.leaves_nothing
def test_a_module_that_takes_long_keeps_nobody_else_waiting(supervised: Supervised) -> None:
    slow = "(insmod $SLOW hold=1; echo slow) & until grep -q '^kmg_slow ' /proc/modules; do :; done; caller init $INNER"
    command = slow.replace("$SLOW", supervised.raw_file("kmg_slow")).replace("$INNER", supervised.raw_file("kmg_inner"))
    command += "; echo 0 > /sys/module/kmg_slow/parameters/hold; wait"
    assert supervised.run(command).stdout == "init EPERM 1\nslow\n"


@pytest.mark.leaves_nothing
def test_taking_a_module_away_works_and_is_recorded(supervised: Supervised) -> None:
    supervised.vm.run("modprobe kmg_param && modprobe kmg_inner", check=True)
    assert supervised.run("rmmod kmg_param && rmmod kmg_inner").status == 0
    assert not {"kmg_param", "kmg_inner"} & supervised.vm.loaded()
    assert [(event["call"], event["answer"]) for event in supervised.events()] == [("delete_module", "0")] * 2
    assert supervised.attempts() == []
    assert supervised.run("loader unload kmg_param").stdout == "unload ENOENT\n"


@pytest.mark.leaves_nothing
def test_taking_a_module_away_can_be_forbidden(supervised: Supervised) -> None:
    supervised.vm.run("modprobe kmg_param", check=True)
    supervised.vm.put(EXEC_POLICY, b'version = 1\n[allow]\nmodules = ["kmg_param"]\n[deny]\nunload = true\n')
    assert supervised.run("rmmod kmg_param").status == 1
    assert is_loaded(supervised, "kmg_param")
    assert supervised.judged() == [("kmg_param", "refuse", "EPERM")]


LEFT_BEHIND = "(setsid sh -c 'read line </tmp/gate; caller finit $FILE; echo over') >/tmp/said 2>&1 & caller finit $UNLISTED"


def leave_behind(supervised: Supervised) -> str:
    """A command that leaves a process which will load an allowed module when the gate opens."""
    supervised.vm.run("rm -f /tmp/gate /tmp/said && mkfifo /tmp/gate", check=True)
    return (LEFT_BEHIND.replace("$FILE", supervised.raw_file("kmg_param"))
            .replace("$UNLISTED", supervised.raw_file("kmg_inner")))


def open_gate(supervised: Supervised) -> str:
    supervised.vm.run("echo go >/tmp/gate; until grep -q over /tmp/said; do :; done", check=True)
    return supervised.vm.get("/tmp/said").decode()


def test_what_is_left_behind_loads_nothing_any_more(supervised: Supervised) -> None:
    assert supervised.run(leave_behind(supervised)).stdout == "finit EPERM 1\n"
    assert open_gate(supervised) == "finit ENOSYS 1\nover\n"
    assert not is_loaded(supervised, "kmg_param")


def test_with_wait_it_does(supervised: Supervised) -> None:
    waiting = supervised.vm.start(supervised.words(leave_behind(supervised), "--wait"))
    waiting.wait_output("finit EPERM 1", 20)
    assert open_gate(supervised) == "finit ok 1\nover\n"
    assert waiting.wait(20).status == 1
    assert is_loaded(supervised, "kmg_param")


def test_row_18_a_killed_kmodctl_means_refusal(supervised: Supervised) -> None:
    running = supervised.vm.start(supervised.words(leave_behind(supervised) + "; wait"))
    running.wait_output("finit EPERM 1", 20)
    supervised.vm.run("kill -KILL $(pidof kmodctl) && while pidof kmodctl; do :; done", check=True)
    assert open_gate(supervised) == "finit ENOSYS 1\nover\n"
    assert not is_loaded(supervised, "kmg_param")


@pytest.mark.leaves_nothing
def test_row_14_who_may_not_load_may_not_by_the_supervisor_either(supervised: Supervised) -> None:
    file = supervised.raw_file("kmg_param")
    for command, user in ((f"caller finit {file}", "nobody"), (f"unshare -U -r caller finit {file}", "root"),
                          (f"unshare -U -r caller init {file}", "nobody"), (f"caller no-effective {file}", "root")):
        way = command.split()[-2]
        assert supervised.vm.run(command, user=user).stdout == f"{way} EPERM 1\n", "the kernel says so itself"
        supervised.vm.run(f"rm -rf {LOGS} && mkdir -m 777 {LOGS}", check=True)
        assert supervised.run(command, user=user).stdout == f"{way} EPERM 1\n"
        assert supervised.judged() == [("kmg_param", "allow", "EPERM")]
        assert "CAP_SYS_MODULE" in supervised.events()[0]["note"]
    assert not is_loaded(supervised, "kmg_param")


def serve_user_namespaces(supervised: Supervised, **lists: object) -> None:
    served = policy(**lists).replace("[allow]\n", "[allow]\nuser_namespaces = true\n")  # type: ignore[arg-type]
    supervised.vm.put(EXEC_POLICY, served.encode())


@pytest.mark.parametrize("way", ["finit", "init"])
def test_row_14_for_a_user_namespace_this_machines_own_file_is_loaded(supervised: Supervised, way: str) -> None:
    """The caller's image could not even load: it has nothing but the name of an allowed one."""
    serve_user_namespaces(supervised, allow=ALLOWED)
    supervised.vm.put("/tmp/caller's.ko", module_image("kmg_param"))
    supervised.vm.put("/etc/modprobe.d/own.conf", b"options kmg_param number=5\n")
    assert supervised.vm.run("caller finit \"/tmp/caller's.ko\"").stdout == "finit ENOEXEC 1\n"
    ran = supervised.run(f'unshare -U -r caller {way} "/tmp/caller\'s.ko"')
    assert ran.stdout == f"{way} ok 1\n", ran.stderr
    assert is_loaded(supervised, "kmg_param")
    assert supervised.vm.get("/sys/module/kmg_param/parameters/number") == b"5\n"
    assert supervised.judged() == [("kmg_param", "allow", "0")]
    assert f"{supervised.file('kmg_param')}, which has other content" in supervised.events()[0]["note"]
    assert supervised.run(f'unshare -U -r caller {way} "/tmp/caller\'s.ko"').stdout == f"{way} EEXIST 1\n"


def test_a_user_namespace_gets_what_an_allowed_module_needs_as_well(supervised: Supervised) -> None:
    serve_user_namespaces(supervised, allow=ALLOWED)
    ran = supervised.run(f"unshare -U -r caller finit {supervised.raw_file('kmg_needs_base')}")
    assert ran.stdout == "finit ok 1\n", ran.stderr
    assert {"kmg_base", "kmg_needs_base"} <= supervised.vm.loaded()
    assert [judged[0] for judged in supervised.judged()] == ["kmg_base", "kmg_needs_base"]


@pytest.mark.parametrize("tool", ["insmod", "busybox insmod", "modprobe"])
def test_the_usual_programs_load_in_a_user_namespace(supervised: Supervised, tool: str) -> None:
    serve_user_namespaces(supervised, allow=ALLOWED)
    argument = "kmg_needs_base" if tool == "modprobe" else supervised.file("kmg_param")
    ran = supervised.run(f"unshare -U -r {tool} {argument}")
    assert ran.status == 0, ran.stderr
    assert is_loaded(supervised, "kmg_needs_base" if tool == "modprobe" else "kmg_param")


def test_row_14_a_user_namespace_gets_no_more_than_the_policy_gives(supervised: Supervised) -> None:
    serve_user_namespaces(supervised, allow=ALLOWED, mode="audit")
    unlisted, allowed = supervised.raw_file("kmg_inner"), supervised.raw_file("kmg_param")
    assert supervised.run(f"unshare -U -r caller finit {unlisted}").stdout == "finit EPERM 1\n", "nor audit mode"
    serve_user_namespaces(supervised, allow=ALLOWED)
    assert supervised.run(f"unshare -U -r caller finit {unlisted}").stdout == "finit EPERM 1\n"
    assert supervised.run(f"unshare -U -r insmod {allowed} number=7").status == 1
    assert "no parameters" in supervised.run(f"unshare -U -r insmod {allowed} number=7").stderr
    by_nobody = supervised.run(f'su nobody -s /bin/sh -c "unshare -U -r caller finit {allowed}"')
    assert by_nobody.stdout == "finit EPERM 1\n"
    assert "made by user 65534" in by_nobody.stderr
    assert {"kmg_inner", "kmg_param"} & supervised.vm.loaded() == set()


def test_without_the_key_a_user_namespace_is_told_of_it(supervised: Supervised) -> None:
    for answer in ("refuse", "pretend"):
        ran = supervised.run(f"unshare -U -r caller finit {supervised.raw_file('kmg_param')}", f"--answer {answer}")
        assert ran.stdout == "finit EPERM 1\n"
        assert "not carried out" in ran.stderr and "allow.user_namespaces" in ran.stderr
    assert not is_loaded(supervised, "kmg_param")


def test_a_kmodctl_that_may_load_nothing_says_that_it_serves_nobody(supervised: Supervised) -> None:
    serve_user_namespaces(supervised, allow=ALLOWED)
    ran = supervised.run(f"unshare -U -r caller finit {supervised.raw_file('kmg_param')}", user="user")
    assert ran.stdout == "finit EPERM 1\n"
    assert "no user namespace is served: kmodctl has no CAP_SYS_MODULE" in ran.stderr


@pytest.mark.leaves_nothing
@pytest.mark.parametrize("table", ["i386", "x32"])
def test_row_15_the_other_system_call_tables_are_covered(supervised: Supervised, table: str) -> None:
    for call in ("init", "finit"):
        ran = supervised.run(f"caller {table}-{call} {supervised.raw_file('kmg_inner')}")
        assert ran.stdout == f"{table}-{call} EPERM 1\n"
        # Unsupervised, Debian's kernels know the one and not the other. Supervised, the load is one like any other.
        ran = supervised.run(f"caller {table}-{call} {supervised.raw_file('kmg_param')} && caller {table}-unload kmg_param")
        assert ran.stdout == f"{table}-{call} ok 1\n{table}-unload ok 1\n"
    assert not is_loaded(supervised, "kmg_inner")


# Where supervision is stricter than the kernel: it copies before it looks, so what it copies must be bounded.
STRICTER = {"init-huge": "EFBIG", "init-endless": "EFBIG", "parameters-long": "E2BIG"}
# These go by the table that this kernel has not got.
OF_OTHER_TABLES = r"x32-.*"


@pytest.mark.leaves_nothing
def test_calls_fail_as_the_kernel_has_them_fail(supervised: Supervised) -> None:
    """Every way in which a call can be wrong, with an allowed image: the errno is the one that it has without kmodctl."""
    file = supervised.raw_file("kmg_param")
    ways = re.findall(r"^  (\S+)", supervised.vm.run("caller").stderr, re.MULTILINE)
    assert len(ways) > 25
    different = {}
    for way in ways:
        if re.fullmatch(OF_OTHER_TABLES, way):
            continue
        argument = "/tmp" if way == "fd-directory" else "kmg_param" if way.endswith("-unload") else file
        command = f"caller {way} {argument}; requester delete kmg_param >/dev/null 2>&1; true"
        alone, ran = supervised.vm.run(command).stdout, supervised.run(command, "--quiet").stdout
        expected = f"{way} {STRICTER[way]} 1\n" if way in STRICTER else alone
        if ran != expected:
            different[way] = (ran, expected)
    assert different == {}


@pytest.mark.leaves_nothing
def test_an_interrupted_caller_has_one_event_for_one_load(supervised: Supervised) -> None:
    ran = supervised.run(f"caller --times 500 --every 1500 finit {supervised.raw_file('kmg_inner')}", "--quiet")
    results = dict(re.findall(r"finit (\S+) (\d+)", ran.stdout))
    assert set(results) <= {"EPERM", "EINTR"} and told(supervised.events()) == int(results["EPERM"])


def test_with_the_kernel_point_both_must_allow(supervised: Supervised) -> None:
    """The supervisor's own loads are judged in the kernel like anybody's, and what is refused there comes back."""
    guard = Guard(supervised.vm)
    guard.start(allow=["kmg_param", "kmg_inner"])
    supervised.write_policy(allow=["kmg_param", "kmg_slow"])
    files = [supervised.raw_file(module) for module in ("kmg_param", "kmg_slow", "kmg_inner")]
    ran = supervised.run("; ".join(f"caller {way} {file}" for file in files for way in ("finit", "init")), "--quiet")
    assert [line.split()[1] for line in ran.stdout.splitlines()] == ["ok", "EEXIST", *["EPERM"] * 4]
    assert [judged[:2] for judged in supervised.judged()] == [
        (module, verdict) for module, verdict in (("kmg_param", "allow"), ("kmg_slow", "allow"), ("kmg_inner", "refuse")) for _ in range(2)]
    assert {"kmg_slow", "kmg_inner"} & supervised.vm.loaded() == set()


@pytest.mark.leaves_nothing
def test_a_process_that_is_known_is_recorded_as_it_is_at_each_call(supervised: Supervised) -> None:
    """A change of the real user alone shows in nothing but /proc/PID/status before Linux 6.13."""
    supervised.vm.run("cp /usr/bin/caller /tmp/another && chmod 755 /tmp/another", check=True)
    ran = supervised.run(f"caller changes {supervised.raw_file('kmg_inner')}", "--quiet")
    supervised.vm.run("rm /tmp/another", check=True)
    assert ran.stdout == "finit EPERM 1\n"
    recorded = [(event["requester"]["uid"], event["requester"]["comm"], event["requester"]["exe"]) for event in supervised.events()]
    assert list(dict.fromkeys(recorded)) == [(0, "caller", "/usr/bin/caller"), (0, "renamed", "/usr/bin/caller"),
                                             (1000, "renamed", "/usr/bin/caller"), (2000, "renamed", "/usr/bin/caller"),
                                             (2000, "another", "/tmp/another")]
    assert told(supervised.events()) == len(supervised.attempts()) == 10
    image = Path(supervised.raw_file("kmg_inner"))
    digest = supervised.vm.run(f"sha256sum {image}", check=True).stdout.split()[0]
    assert {event["sha256"] for event in supervised.events()} == {digest}
    assert set(supervised.attempts()) == {str(image)}


@pytest.mark.leaves_nothing
def test_what_ends_at_once_is_recorded_as_it_was(supervised: Supervised) -> None:
    ran = supervised.run(f"caller short-lived {supervised.raw_file('kmg_inner')}", "--quiet")
    assert ran.stdout == "short-lived EPERM 1\n"
    events = supervised.events()
    assert [event["requester"]["comm"] for event in events] == [f"child-{number}" for number in range(20)]
    assert len({event["requester"]["pid"] for event in events}) == 20
    assert {event["requester"]["exe"] for event in events} == {"/usr/bin/caller"} and all(event["sha256"] for event in events)


RACES = {"init": 4000, "dup": 4000, "write": 2000}


def racing_images(supervised: Supervised, folder: Path) -> str:
    """kmg_inner, and the same as kmg_allow, which is loaded; small, so that most looks at them see one of the two."""
    file = next((supervised.vm.kernel.modules / "updates").glob("kmg_inner.ko*"))
    image = file.read_bytes() if file.suffix == ".ko" else lzma.decompress(file.read_bytes())
    (folder / "module.ko").write_bytes(image)
    subprocess.run(["strip", "--strip-debug", folder / "module.ko"], check=True)
    image = (folder / "module.ko").read_bytes()
    renamed = image.replace(b"\0name=kmg_inner\0", b"\0name=kmg_allow\0").replace(b"\0" * 8 + b"kmg_inner\0", b"\0" * 8 + b"kmg_allow\0")
    assert image.count(b"kmg_inner\0") - renamed.count(b"kmg_inner\0") == 2
    supervised.vm.put("/tmp/unlisted.ko", image)
    supervised.vm.put("/tmp/allowed.ko", renamed)
    supervised.vm.run("insmod /tmp/allowed.ko", check=True)
    return "/tmp/unlisted.ko /tmp/allowed.ko"


@pytest.mark.parametrize("way", RACES)
def test_row_13_what_is_changed_while_it_is_judged_is_not_what_is_loaded(supervised: Supervised, way: str, tmp_path: Path) -> None:
    """First the race is run against a guard that looks and then lets the kernel look again: that one must lose."""
    rounds, images = RACES[way], racing_images(supervised, tmp_path)
    naive = supervised.vm.run(f"racer --naive {rounds} {way} {images}", timeout=900, check=True)
    assert "ok 1\n" in naive.stdout and is_loaded(supervised, "kmg_inner"), f"no race at all: {naive.stdout}"
    supervised.vm.run("requester delete kmg_inner", check=True)

    supervised.write_policy(allow=["kmg_allow"])
    ran = supervised.run(f"racer {rounds} {way} {images}", "--quiet", timeout=900)
    results = {result: int(count) for result, count in re.findall(rf"{way} (\S+) (\d+)", ran.stdout)}
    assert not is_loaded(supervised, "kmg_inner")
    # EEXIST: the kernel's word on kmg_allow.
    assert set(results) == {"EPERM", "EEXIST"} and sum(results.values()) == rounds, results
    assert min(results.values()) > rounds // 50, f"one image was hardly ever seen: {results}"

    recorded = supervised.events()
    assert told(recorded) == rounds
    modules = Counter((module["module"], module["verdict"]) for event in recorded for module in event["modules"])
    assert modules["kmg_inner", "refuse"] > 0 and modules["kmg_inner", "allow"] == 0
    assert sum(event["verdict"] == "allow" for event in recorded) == modules["kmg_allow", "allow"] == results["EEXIST"]


def test_modules_disabled_holds_for_the_supervisor_too() -> None:
    with Machine("6.1", files={"/usr/bin/caller": compiled(GUEST / "caller.cpp")}) as vm:
        vm.run(f"mkdir -m 777 {LOGS} && {UNPACK} && echo 1 >/proc/sys/kernel/modules_disabled", check=True)
        supervised = Supervised(vm)
        for way in ("init", "finit"):
            assert supervised.run(f"caller {way} {supervised.raw_file('kmg_param')}").stdout == f"{way} EPERM 1\n"
        assert supervised.judged() == [("kmg_param", "allow", "EPERM")] * 2
        assert "modules_disabled" in supervised.events()[0]["note"]
