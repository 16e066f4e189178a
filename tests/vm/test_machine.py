# SPDX-License-Identifier: AGPL-3.0-only
"""Tests of the test machine itself, without kmodguard: what the other tests take for granted."""

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import CommandFailed, Machine, MachineDied, MachineError, MachineTimeout, packages, states
from machine.cache import cached
from machine.cpio import guest_path
from machine.monitor import MonitorError

KERNELS = ["6.1", "6.12", "7.2"]


@pytest.fixture(scope="module", params=KERNELS)
def vm(request: pytest.FixtureRequest) -> Iterator[Machine]:
    files = {"/etc/given": b"\x00given\xff", "/usr/bin/host-openssl": Path("/usr/bin/openssl"), "/etc/hosts": b""}
    with Machine(request.param, stage=False, files=files, boot=True, cpus=2, name=f"test_machine-{request.param}") as machine:
        yield machine


@pytest.fixture
def unloads(vm: Machine) -> Iterator[None]:
    """Unloads what a test has loaded, so that the next finds the machine as it was."""
    before = vm.loaded()
    yield
    while extra := vm.loaded() - before:
        # Several rounds: what others use goes after them.
        gone = [name for name in sorted(extra) if vm.run(f"requester delete {name}").status == 0]
        assert gone, f"cannot unload {extra}"


def test_boots_the_kernel_asked_for(vm: Machine) -> None:
    assert vm.run("uname -r", check=True).stdout.strip() == vm.kernel.release
    # A suite of Debian's own moves on under a row's name, the kernels of a release do not.
    name = vm.kernel_name.split(".")[0] if packages.source(vm.kernel_name).suite else vm.kernel_name
    assert vm.run("uname -r").stdout.startswith(name + ".")


def test_only_the_kernel_itself_loads_modules(vm: Machine) -> None:
    # 6.12 asks for the processor's AES code while it boots, like every Debian.
    assert vm.loaded() <= {"aesni_intel", "crypto_simd", "cryptd", "gf128mul"}


def test_command_gives_status_and_both_outputs(vm: Machine) -> None:
    result = vm.run("echo out; echo err >&2; exit 7")
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert vm.run("kill -9 $$").status == -9
    assert vm.run("echo $GIVEN; cat", env={"GIVEN": "a b"}, input=b"input").stdout == "a b\ninput"


@pytest.mark.parametrize("user,uid", [("root", 0), ("user", 1000), ("nobody", 65534), ("12345", 12345)])
def test_command_runs_as_user(vm: Machine, user: str, uid: int) -> None:
    assert vm.run("id -u", user=user, check=True).stdout == f"{uid}\n"
    capabilities = int(vm.run("grep CapEff /proc/self/status", user=user).stdout.split()[1], 16)
    assert (capabilities != 0) == (uid == 0)


def test_unknown_user_is_an_error(vm: Machine) -> None:
    result = vm.run("true", user="nosuchuser")
    assert result.status == 127 and "nosuchuser" in result.stderr


def test_failed_check_shows_everything(vm: Machine) -> None:
    with pytest.raises(CommandFailed, match=r"(?s)status 3.*seen.*complained"):
        vm.run("echo seen; echo complained >&2; exit 3", check=True)


def test_timeout_shows_what_came_so_far(vm: Machine) -> None:
    command = vm.start("echo so far; sleep 100")
    command.wait_output("so far")
    with pytest.raises(MachineTimeout, match="(?s)sleep 100.*so far"):
        command.wait(timeout=0)
    assert "sleep 100" not in vm.run("ps -o args").stdout


def test_files_pass_unchanged(vm: Machine) -> None:
    data = os.urandom(100_000)
    vm.put("/new folder/it's", data, mode=0o640)
    assert vm.get("/new folder/it's") == data
    assert vm.run("stat -c %a \"/new folder/it's\"").stdout == "640\n"
    assert vm.get("/etc/given") == b"\x00given\xff"
    assert vm.get("/etc/hosts") == b""


def test_host_program_brings_its_libraries(vm: Machine) -> None:
    assert vm.run("host-openssl version", check=True).stdout.startswith("OpenSSL")


def test_many_commands_run_at_once(vm: Machine) -> None:
    started = [vm.start("read line; echo got $line", end=False) for _ in range(50)]
    assert vm.run("echo meanwhile", check=True).stdout == "meanwhile\n"
    assert all(command.running for command in started)
    for number, command in enumerate(started):
        command.send(f"{number}\n".encode(), end=True)
    assert [command.wait().stdout for command in started] == [f"got {number}\n" for number in range(50)]


def test_background_child_does_not_hold_its_command(vm: Machine) -> None:
    vm.run("mkfifo /tmp/fifo", check=True)
    command = vm.start("(read line < /tmp/fifo; echo late) & echo first")
    assert command.wait().stdout == "first\n"
    vm.run("echo go > /tmp/fifo", check=True)
    command.wait_output("late")


def test_output_can_be_waited_for(vm: Machine) -> None:
    command = vm.start("echo ready; read line; echo done", end=False)
    assert "ready" in command.wait_output("ready")
    command.send(b"go\n")
    assert command.wait().stdout == "ready\ndone\n"


def test_console_can_be_waited_for(vm: Machine) -> None:
    vm.run("echo from-the-test > /dev/console", check=True)
    vm.wait_console("from-the-test")
    assert "from-the-test" in vm.console


def test_stock_autoload_of_af_key_by_nobody(vm: Machine, unloads: None) -> None:
    result = vm.run("requester socket 15 3 2", user="nobody")
    assert result.stdout == "socket EPERM\n"  # the family is there, and wants CAP_NET_ADMIN
    assert {"af_key", "xfrm_algo"} <= vm.loaded()


def test_unknown_family_loads_nothing(vm: Machine, unloads: None) -> None:
    before = vm.loaded()
    assert vm.run("requester socket 9 2 0", user="nobody").stdout == "socket EAFNOSUPPORT\n"
    assert vm.loaded() == before


# Every candidate of the README's table: what is asked, by whom, and what at least is loaded then.
CANDIDATES = [
    ("socket 2 1 132", "nobody", {"sctp"}),
    ("socket 40 1 0", "nobody", {"vsock", "vsock_loopback", "vmw_vsock_vmci_transport"}),
    ("alg hash md4", "nobody", {"algif_hash", "md4"}),
    ("alg skcipher 'cbc(aes)'", "nobody", {"algif_skcipher"}),
    ("mount overlay", "nobody", {"overlay"}),
    ("mount erofs", "nobody", {"erofs"}),
    ("link dummy", "nobody", {"dummy"}),
    ("link bridge", "nobody", {"bridge", "stp", "llc"}),
    ("qdisc cake", "nobody", {"sch_cake"}),
    ("nfnetlink 10", "nobody", {"nf_tables"}),
    ("genl macsec", "nobody", {"macsec"}),
    ("tcp vegas", "root", {"tcp_vegas"}),
    ("netdev kmg_inner", "root", {"kmg_inner"}),
]


@pytest.mark.parametrize("request_line,user,modules", CANDIDATES, ids=[line for line, _, _ in CANDIDATES])
def test_candidate_is_loaded(vm: Machine, request_line: str, user: str, modules: set[str]) -> None:
    assert not modules & vm.loaded()
    vm.run(f"requester {request_line}", user=user)
    assert modules <= vm.loaded()


@pytest.mark.parametrize("node,module", [("c 10 200", "tun"), ("b 7 0", "loop"), ("c 10 235", "autofs4")])
def test_device_node_is_a_candidate(vm: Machine, node: str, module: str) -> None:
    vm.run(f"rm -f /tmp/node; mknod -m 666 /tmp/node-{module} {node}", check=True)
    assert vm.run(f"requester open /tmp/node-{module}", user="nobody").stdout == "open ok\n"
    assert module in vm.loaded()


@pytest.mark.parametrize("token,modules", [
    ("kmg-twins", {"kmg_twin_a", "kmg_twin_b"}),
    ("kmg_needs_base", {"kmg_base", "kmg_needs_base"}),
    ("kmg_soft", {"kmg_soft", "kmg_inner", "kmg_twin_a"}),
    ("crypto-serpent", {"serpent_generic", "serpent_sse2_x86_64", "serpent_avx_x86_64", "serpent_avx2"}),
    ("pci:v000015ADd000007B0sv000015ADsd000007B0bc02sc00i00", {"vmxnet3"}),
])
def test_token_through_kmg_ask(vm: Machine, unloads: None, token: str, modules: set[str]) -> None:
    vm.run("modprobe kmg_ask", check=True)
    assert vm.run(f"requester ask {token}", user="nobody").stdout == "ask ok\n"
    assert modules <= vm.loaded()


def test_kmg_ask_tells_failure(vm: Machine, unloads: None) -> None:
    vm.run("modprobe kmg_ask", check=True)
    assert vm.run("requester ask nosuchmodule").stdout == "ask exit1\n"
    assert vm.run(f"requester ask {'x' * 60}").stdout == "ask ENAMETOOLONG\n"
    assert vm.run("requester ask \"$(printf 'odd\\n\\377')\"").stdout == "ask exit1\n"


def test_outer_asks_for_inner(vm: Machine, unloads: None) -> None:
    vm.run("modprobe kmg_outer", check=True)
    assert vm.get("/sys/module/kmg_outer/parameters/result") == b"0\n"
    assert "kmg_inner" in vm.loaded()


def test_module_parameters_and_failure(vm: Machine, unloads: None) -> None:
    vm.run("modprobe kmg_param text=hello number=7", check=True)
    assert vm.get("/sys/module/kmg_param/parameters/text") == b"hello\n"
    assert vm.get("/sys/module/kmg_param/parameters/number") == b"7\n"
    assert "No such device" in vm.run("modprobe kmg_fail").stderr
    assert vm.run("requester --time --repeat 1 finit /nosuch").stdout.startswith("finit ENOENT ")


def test_slow_loads_overlap(vm: Machine, unloads: None) -> None:
    command = vm.start("modprobe kmg_slow hold=1")
    vm.run("until grep -q '^kmg_slow .* Loading' /proc/modules; do :; done", check=True)
    vm.run("modprobe kmg_inner", check=True)
    assert command.running
    vm.run("echo 0 > /sys/module/kmg_slow/parameters/hold", check=True)
    command.wait(check=True)


def test_bare_system_calls_load(vm: Machine, unloads: None) -> None:
    folder = f"/lib/modules/{vm.kernel.release}/updates"
    if vm.kernel.module_suffix == ".ko":
        compressed_flag, by_memory = "0", f"{folder}/kmg_param.ko"
    else:
        compressed_flag, by_memory = "4", "/tmp/kmg_param.ko"
        vm.run(f"xz -dc {folder}/kmg_param.ko.xz > {by_memory}", check=True)
    assert vm.run(f"requester finit {folder}/kmg_param{vm.kernel.module_suffix} '' {compressed_flag}").stdout == "finit ok\n"
    assert vm.run(f"requester --user 65534 finit {by_memory}").stdout == "finit EPERM\n"
    assert vm.run("requester delete kmg_param").stdout == "delete ok\n"
    assert vm.run(f"requester --repeat 3 --unload kmg_param init {by_memory}").stdout == "init ok\n" * 3


@pytest.fixture(scope="module")
def image(vm: Machine) -> str:
    """A test module as the kernel's file system has no other: not compressed, and free to be changed."""
    suffix = vm.kernel.module_suffix
    unpack = "xzcat" if suffix == ".ko.xz" else "cat"
    for name in ("kmg_param", "kmg_twin_a", "kmg_twin_b"):
        vm.run(f"{unpack} /lib/modules/{vm.kernel.release}/updates/{name}{suffix} > /run/{name}.ko", check=True)
    return "/run/kmg_param.ko"


@pytest.mark.parametrize("way", ["init", "finit", "memfd", "sealed-memfd", "unlinked", "tmpfs", "hardlink", "bind", "loop",
                                 "decompress-init"])
def test_loader_loads_in_every_way(vm: Machine, unloads: None, image: str, way: str) -> None:
    vm.run("modprobe loop", check=True)
    assert vm.run(f"loader --params number=9 {way} {image}", check=True).stdout == f"{way} ok\n"
    assert vm.get("/sys/module/kmg_param/parameters/number") == b"9\n"
    assert vm.run(f"loader {way} {image}").stdout == f"{way} EEXIST\n"
    assert vm.run("loader unload kmg_param", check=True).stdout == "unload ok\n"
    assert vm.run("mount | grep /tmp/; ls -d /tmp/loader*").stdout == ""


def test_loader_loads_compressed_modules(vm: Machine, unloads: None) -> None:
    path = f"/lib/modules/{vm.kernel.release}/updates/kmg_param{vm.kernel.module_suffix}"
    decompresses = "CONFIG_MODULE_DECOMPRESS=y" in vm.kernel.config
    assert vm.run(f"loader --unload kmg_param compressed {path}").stdout == f"compressed {'ok' if decompresses else 'EOPNOTSUPP'}\n"
    assert vm.run(f"loader --unload kmg_param decompress-init {path}").stdout == "decompress-init ok\n"


def test_loader_tells_refusals_from_what_it_cannot_try(vm: Machine, image: str) -> None:
    vm.run(f"chmod 644 {image}", check=True)
    for way in ("init", "finit", "memfd", "unlinked"):
        assert vm.run(f"loader --repeat 2 {way} {image}", user="nobody").stdout == f"{way} EPERM\n" * 2
    refused = vm.run(f"loader bind {image}", user="nobody")
    assert (refused.status, refused.stdout) == (2, "") and "EPERM" in refused.stderr
    assert vm.run("loader finit /etc/passwd").stdout == "finit ENOEXEC\n"
    assert vm.run("loader unload nosuchmodule").stdout == "unload ENOENT\n"


def test_loader_races(vm: Machine, unloads: None, image: str) -> None:
    both = vm.run(f"loader --unload kmg_param pair {image}").stdout.split()
    assert "ok" in both and both.count("pair") == 2
    many = vm.run(f"loader --parallel 5 finit {image}").stdout.splitlines()
    assert len(many) == 5 and "finit ok" in many
    swap = "loader --repeat 100 --unload kmg_twin_a --unload kmg_twin_b swap /run/kmg_twin_a.ko /run/kmg_twin_b.ko"
    counts = {line.rpartition(" ")[0]: int(line.split()[-1]) for line in vm.run(swap).stdout.splitlines()}
    assert sum(counts.values()) == 100
    assert {"swap ok kmg_twin_a", "swap ok kmg_twin_b"} <= set(counts)


def test_requests_in_parallel(vm: Machine) -> None:
    result = vm.run("requester --user 65534 --parallel 20 --time socket 9 2 0")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["socket", "EAFNOSUPPORT"]] * 20
    assert all(int(line[2]) > 0 for line in lines)


def test_file_systems_of_the_kernel_are_mounted(vm: Machine) -> None:
    mounts = vm.get("/proc/mounts").decode()
    for line in ("/sys/kernel/security securityfs", "/sys/fs/bpf bpf", "/sys/kernel/tracing tracefs", "/sys/kernel/debug debugfs"):
        assert f" {line} " in mounts
    assert {"capability", "bpf"} <= set(vm.get("/sys/kernel/security/lsm").decode().split(","))


def test_security_modules_can_be_chosen() -> None:
    with Machine("6.1", stage=False, cmdline="lsm=lockdown,yama,apparmor") as vm:
        assert vm.get("/sys/kernel/security/lsm") == b"lockdown,capability,yama,apparmor"


def test_panic_is_told() -> None:
    with Machine(stage=False) as vm, pytest.raises(MachineDied, match="(?s)kernel panicked.*sysrq triggered crash"):
        vm.run("echo c > /proc/sysrq-trigger")


def test_power_off_is_no_panic() -> None:
    with Machine(stage=False) as vm:
        vm.start("poweroff -f")
        vm.wait_end()
        with pytest.raises(MachineDied, match="^(?!.*panicked)"):
            vm.run("true")


def test_kernel_command_line_and_devices() -> None:
    with Machine(stage=False, cmdline="kmodguard.mode=audit", cpus=1, qemu=["-device", "pvpanic-pci"]) as vm:
        assert "kmodguard.mode=audit" in vm.get("/proc/cmdline").decode()
        assert "nproc=1" in vm.run("echo nproc=$(nproc)").stdout
        vm.run("modprobe $(cat /sys/bus/pci/devices/*/modalias | grep ^pci:v00001B36)", check=True)
        assert "pvpanic_pci" in vm.loaded()


@pytest.mark.parametrize("kernel", KERNELS)
def test_plain_machine_goes_on_from_a_boot_that_was_kept(kernel: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "folder/link").symlink_to("file")
    files = {"/etc/given": b"\x00given\xff", "/usr/bin/host-openssl": Path("/usr/bin/openssl"), "/srv": tmp_path / "folder"}
    with Machine(kernel, stage=False, files=files, packages=["iproute2"]) as vm:
        assert vm.console == ""  # what it said while it booted went to another machine's
        assert vm.run("uname -r", check=True).stdout.strip() == vm.kernel.release
        assert vm.get("/etc/given") == b"\x00given\xff"
        assert vm.get("/srv/link") == bytes(range(256)) * 1000
        assert vm.run("stat -c %a:%u:%g /etc/given", check=True).stdout == "644:0:0\n"
        assert vm.run("host-openssl version", check=True).stdout.startswith("OpenSSL")
        assert "iproute2" in vm.run("ip -V", check=True).stdout
        assert abs(int(vm.run("date +%s", check=True).stdout) - time.time()) < 3600  # the host's day, not that of the boot
        assert vm.run("requester socket 15 3 2", user="nobody").stdout == "socket EPERM\n"
        assert "af_key" in vm.loaded()


def test_saved_machine_is_the_beginning_of_others_that_know_nothing_of_each_other() -> None:
    with Machine("6.1", stage=False, template=True) as vm:
        vm.run("modprobe kmg_ask && echo saved > /tmp/file", check=True)
        waiting = vm.start("read line; echo got $line", end=False)
        state = vm.save("state")
        vm.run("echo later > /tmp/file && requester delete kmg_ask", check=True)
        with Machine("6.1", state=state) as one, Machine("6.1", state=state) as other:
            one.run("echo one > /tmp/file; requester delete kmg_ask", check=True)
            assert other.get("/tmp/file") == b"saved\n" and "kmg_ask" in other.loaded()
            assert one.get("/tmp/file") == b"one\n" and "kmg_ask" not in one.loaded()
            number = "od -An -tx8 -N16 /dev/urandom"
            assert one.run(number, check=True).stdout != other.run(number, check=True).stdout
        assert vm.get("/tmp/file") == b"later\n" and "kmg_ask" not in vm.loaded()
        waiting.send(b"it\n")
        assert waiting.wait().stdout == "got it\n"
        with Machine("6.1", state=state) as late:
            assert late.get("/tmp/file") == b"saved\n"


def test_state_that_cannot_be_gone_on_from_is_told(tmp_path: Path) -> None:
    with Machine("6.1", stage=False, template=True) as vm:
        state = vm.save("state")
        state.devices.write_bytes(b"nonsense")
        with pytest.raises(MonitorError, match="(?s)could not save or restore.*QEMU said"), Machine("6.1", state=state):
            pass


def test_files_that_do_not_fit_the_window_come_by_a_boot(tmp_path: Path) -> None:
    small, big = tmp_path / "small", tmp_path / "big"
    small.write_bytes(b"x" * 4096)
    with open(big, "wb") as file:
        file.truncate(states.WINDOW_MEBIBYTES << 20)
    assert states.fill_window(tmp_path / "window", [small, small]) == [(0, 4096), (4096, 4096)]
    assert states.fill_window(tmp_path / "window", [small, big]) is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_counting_clock_repeats_within_one_percent(kernel: str) -> None:
    medians = []
    for _ in range(2):
        with Machine(kernel, stage=False, counting=True) as vm:
            result = vm.run("requester --user 65534 --repeat 5 --time socket 9 2 0")
            medians.append(statistics.median(int(line.split()[2]) for line in result.stdout.splitlines()[1:]))
    print(kernel, "unknown family through stock modprobe:", medians, "instructions")
    assert medians[0] == pytest.approx(medians[1], rel=0.01)


def test_debian_packages_are_unpacked() -> None:
    with Machine(stage=False, packages=["iproute2"]) as vm:
        assert "iproute2" in vm.run("ip -V", check=True).stdout


@pytest.mark.parametrize("kernel", KERNELS)
def test_systemd_boots(kernel: str) -> None:
    with Machine(kernel, stage=False, init="systemd", qemu=["-device", "pvpanic-pci"]) as vm:
        state = vm.wait_booted()
        print(vm.run("systemctl --failed; systemd-analyze").stdout)
        assert state in ("running", "degraded")
        assert "pvpanic_pci" in vm.loaded()  # by udev
        assert "Linux version" in vm.run("journalctl -k --no-pager", check=True).stdout
        assert vm.run("requester socket 15 3 2", user="nobody").stdout == "socket EPERM\n"


def test_full_kernel_has_the_full_index() -> None:
    with Machine("6.1-full", stage=False) as vm:
        assert int(vm.run("cat /lib/modules/*/modules.alias | wc -l").stdout) > 20_000
        assert vm.run("modprobe -n -v crypto-crc32c", check=True).stdout.count("insmod") >= 2


def test_unknown_kernel_and_missing_stage_are_plain_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no kernel '5.10'.*6.1, 6.12"):
        packages.kernel("5.10")
    monkeypatch.setenv("KMODGUARD_STAGE", str(tmp_path / "nothing"))
    with pytest.raises(MachineError, match="no staged install"), Machine():
        pass


def test_staged_install_is_laid_over_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "usr/libexec/kmodguard").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/staged").write_text("staged")
    shutil.copy("/usr/bin/openssl", tmp_path / "usr/libexec/kmodguard/program")
    monkeypatch.setenv("KMODGUARD_STAGE", str(tmp_path))
    with Machine() as vm:
        assert vm.get("/etc/staged") == b"staged"
        assert vm.run("/usr/libexec/kmodguard/program version", check=True).stdout.startswith("OpenSSL")
        assert vm.run("id -u", check=True).stdout == "0\n"


def test_interrupted_entry_is_never_taken_for_whole(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "entry", interrupted)
    assert list(tmp_path.iterdir()) == []
    assert cached(tmp_path / "entry", lambda path: path.write_text("whole") and None).read_text() == "whole"


def test_archive_names_follow_the_merged_usr() -> None:
    assert guest_path("/lib/modules/x") == "usr/lib/modules/x"
    assert guest_path("/etc/lib") == "etc/lib"
