# SPDX-License-Identifier: AGPL-3.0-only
"""The kernel point on real kernels: whoever hands the kernel an image, in whichever way, it is judged by what is in it.

Four machines: images as they are (6.1), the same by overriding the security hooks since `bpf` is not among them, compressed
images of which the hooks see the compressed bytes only (6.12), compressed ones that they see unpacked as well (7.2).
Tests that answer a row of docs/bypasses.md have its number in their name.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard import DEPMOD, FAIL_BPF, HANDLER, POLICY, Guard, Prepared, file_of, guarded, policy, raw_file_of, undisturbed, usual
from images import module_image
from machine import Machine
from machine.guest import compiled

pytestmark = pytest.mark.restored

DRAIN = Path(__file__).parent / "guest/drain.cpp"
WITHOUT_BPF = "lsm=lockdown,yama,apparmor"
MACHINES = {"6.1": ("6.1", ""), "6.1-fmod_ret": ("6.1", WITHOUT_BPF), "6.12": ("6.12", ""), "7.2": ("7.2", "")}
# Allowed: kmg_param, and kmg_needs_base with what it needs. Everything else is on no list.
ALLOWED = ["kmg_param", "kmg_needs_base", "kmg_crafted"]


@pytest.fixture(scope="module", params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Prepared:
    kernel, cmdline = MACHINES[request.param]
    files = {"/usr/bin/drain": compiled(DRAIN), "/usr/lib/fail_bpf.so": FAIL_BPF}
    return guarded(f"kernel_point-{request.param}", kernel, {"allow": ALLOWED}, cmdline=cmdline, packages=["bpftool"], files=files)


@pytest.fixture
def guard(machine: Prepared) -> Iterator[Guard]:
    with machine.machine(machine.started) as vm:
        yield Guard(vm)


@pytest.fixture(scope="module")
def lasting(machine: Prepared) -> Iterator[Machine]:
    with machine.machine(machine.started) as vm:
        yield vm


@pytest.fixture
def shared(lasting: Machine) -> Iterator[Guard]:
    """A machine that goes on from test to test, for those that leave nothing behind but what they load."""
    with undisturbed(lasting) as guard:
        yield guard


def kernel_point(guard: Guard) -> dict:
    (point,) = [point for point in guard.status()["points"] if point["point"] == "kernel"]
    return point


def unpacks(guard: Guard) -> bool:
    return guard.vm.run("cat /sys/module/compression").status == 0


WAYS = ["init", "finit", "memfd", "sealed-memfd", "unlinked", "tmpfs", "hardlink", "bind"]


def test_status_says_by_what_means(shared: Guard) -> None:
    point = kernel_point(shared)
    lsm = "bpf" in shared.vm.run("cat /sys/kernel/security/lsm", check=True).stdout.split(",")
    assert point["active"] is True and point["mechanism"] == ("lsm" if lsm else "fmod_ret")
    assert point["generation"] == shared.status()["daemon"]["generation"]


@pytest.mark.parametrize("way", WAYS)
def test_8_9_every_way_is_judged_alike(shared: Guard, way: str) -> None:
    allowed, unlisted = raw_file_of("kmg_param"), raw_file_of("kmg_inner")
    assert shared.vm.run(f"loader {way} {unlisted}").stdout == f"{way} EPERM\n"
    assert "kmg_inner" not in shared.vm.loaded()
    assert shared.vm.run(f"loader --params 'number=7' {way} {allowed}").stdout == f"{way} ok\n"
    assert shared.vm.run("cat /sys/module/kmg_param/parameters/number", check=True).stdout == "7\n"


@pytest.mark.parametrize("tool", ["insmod", "busybox insmod", "modprobe"])
def test_real_tools_load_what_is_allowed_and_nothing_else(shared: Guard, tool: str) -> None:
    def argument(module: str) -> str:
        return module if tool == "modprobe" else raw_file_of(module)

    assert shared.vm.run(f"{tool} {argument('kmg_inner')}").status != 0
    assert "kmg_inner" not in shared.vm.loaded()
    shared.vm.run(f"{tool} {argument('kmg_param')}", check=True)
    assert "kmg_param" in shared.vm.loaded()


def test_dependencies_of_an_allowed_module_are_admitted(guard: Guard) -> None:
    guard.ctl("allow kmg_soft", check=True)
    guard.vm.run("modprobe kmg_needs_base && modprobe kmg_soft", check=True)
    assert {"kmg_base", "kmg_needs_base", "kmg_soft", "kmg_inner"} <= guard.vm.loaded()


def test_1_a_renamed_module_is_what_is_in_it(guard: Guard) -> None:
    guard.vm.run(f"cp {raw_file_of('kmg_inner')} /tmp/kmg_param.ko", check=True)
    assert "Operation not permitted" in guard.vm.run("insmod /tmp/kmg_param.ko").stderr
    assert "kmg_inner is not on the allow list" in guard.wait_log("kmg_inner")


def load_crafted(guard: Guard, image: bytes) -> str:
    guard.vm.put("/tmp/crafted.ko", image)
    results = {guard.vm.run(f"loader {way} /tmp/crafted.ko").stdout.split()[-1] for way in ("init", "memfd")}
    (result,) = results
    return result


def test_a_crafted_image_of_an_allowed_name_reaches_the_kernel_itself(shared: Guard) -> None:
    assert load_crafted(shared, module_image("kmg_crafted")) == "ENOEXEC"
    assert load_crafted(shared, module_image("kmg_other")) == "EPERM"


def test_2_two_names_are_a_contradiction(guard: Guard) -> None:
    for names in (("kmg_crafted", "kmg_other"), ("kmg_other", "kmg_crafted"), ("kmg_crafted", "kmg_param")):
        assert load_crafted(guard, module_image(names[0], modinfo_name=names[1])) == "EPERM", names
    guard.wait_log("has an image that is not what its name says")


def test_3_records_of_modinfo_are_read_from_their_beginning(shared: Guard) -> None:
    decoys = ["parm=xname=kmg_other", "xname=kmg_other", "description=" + "y" * 57 + "name=kmg_other", "name"]
    assert load_crafted(shared, module_image("kmg_crafted", modinfo=decoys)) == "ENOEXEC"
    decoys = [decoy.replace("kmg_other", "kmg_crafted") for decoy in decoys]
    assert load_crafted(shared, module_image("kmg_other", modinfo=decoys)) == "EPERM"
    # A second name= record that differs, also beyond the first 64 bytes of what comes before it.
    assert load_crafted(shared, module_image("kmg_crafted", modinfo=["description=" + "y" * 300, "name=kmg_other"])) == "EPERM"


def test_7_install_lines_and_other_configurations_change_nothing(guard: Guard) -> None:
    guard.vm.put("/tmp/conf/x.conf", b"install kmg_inner /sbin/modprobe --ignore-install kmg_inner\noptions kmg_inner x=1\n")
    for command in ("modprobe -C /tmp/conf kmg_inner", "modprobe --ignore-install kmg_inner", "modprobe --force kmg_inner",
                    f"insmod {raw_file_of('kmg_inner')}"):
        assert guard.vm.run(command).status != 0, command
    assert "kmg_inner" not in guard.vm.loaded()


def test_10_compressed_images_are_judged_by_their_content(guard: Guard) -> None:
    if not unpacks(guard):
        file = raw_file_of("kmg_param")
        assert guard.vm.run(f"loader compressed {file}").stdout == "compressed EOPNOTSUPP\n"
        return
    allowed, unlisted = file_of(guard.vm, "kmg_param"), file_of(guard.vm, "kmg_inner")
    refusals = {"compressed EPERM\n", "compressed ENOSYS\n"}  # ENOSYS: hand it over unpacked
    guard.vm.run(f"until loader --unload kmg_param compressed {allowed} | grep -q ok; do :; done", check=True)
    assert guard.vm.run(f"loader compressed {unlisted}").stdout in refusals
    # Under an allowed name, hard-linked, bind-mounted, and in place of an allowed file that was checked.
    guard.vm.run(f"cp {unlisted} /tmp/kmg_param.ko.xz; cp {allowed} /tmp/checked.ko.xz; ln -f {unlisted} {unlisted}.link", check=True)
    assert guard.vm.run("loader compressed /tmp/kmg_param.ko.xz").stdout in refusals
    assert guard.vm.run(f"loader compressed {unlisted}.link").stdout in refusals
    guard.vm.run(f"mount --bind {unlisted} {allowed}", check=True)
    assert guard.vm.run(f"loader compressed {allowed}").stdout in refusals
    guard.vm.run(f"umount {allowed}; rm {unlisted}.link", check=True)
    # A copy of the very bytes is the very content.
    assert guard.vm.run("loader --unload kmg_param compressed /tmp/checked.ko.xz").stdout == "compressed ok\n"
    guard.vm.run(f"cat {unlisted} > /tmp/checked.ko.xz", check=True)
    assert guard.vm.run("loader compressed /tmp/checked.ko.xz").stdout in refusals
    assert "kmg_inner" not in guard.vm.loaded()


def test_10_a_file_rewritten_while_it_is_loaded_is_judged_by_what_the_kernel_got(guard: Guard) -> None:
    allowed, unlisted = raw_file_of("kmg_param"), raw_file_of("kmg_inner")
    done = guard.vm.run(f"loader --repeat 200 --unload kmg_param --unload kmg_inner swap {allowed} {unlisted}", timeout=900)
    results = dict(re.findall(r"swap (.+) (\d+)", done.stdout))
    assert results and not any(name.startswith("ok kmg_inner") for name in results), results
    assert "kmg_inner" not in guard.vm.loaded()


@pytest.mark.parametrize("flags", [1, 2, 3, 4, 8, 0x80000000])
def test_11_flags_do_not_change_the_decision(shared: Guard, flags: int) -> None:
    unlisted = raw_file_of("kmg_inner")
    assert shared.vm.run(f"loader --flags {flags} finit {unlisted}").status != 0
    assert "kmg_inner" not in shared.vm.loaded()


def test_11_a_pin_compares_the_content(guard: Guard) -> None:
    file = raw_file_of("kmg_param")
    right = guard.vm.run(f"sha256sum {file}", check=True).stdout.split()[0]
    for digest, result in ((right, "ok"), ("0" * 64, "EPERM")):
        text = policy(allow=["kmg_param"]) + f'[[pin]]\nmodule = "kmg_param"\nsha256 = "{digest}"\n'
        guard.vm.put(POLICY, text.encode())
        guard.ctl("reload", check=True)
        for way in ("init", "memfd"):
            assert guard.vm.run(f"loader --unload kmg_param {way} {file}").stdout == f"{way} {result}\n"
    assert right in guard.wait_log("has other content than the policy pins")
    if unpacks(guard):
        assert guard.vm.run(f"loader compressed {file_of(guard.vm, 'kmg_param')}").status == 1


def test_12_malformed_images_are_refused_and_harm_nothing(shared: Guard) -> None:
    image = module_image("kmg_crafted")
    sections = bytearray(image)
    sections[60:62] = b"\xff\xff"  # e_shnum
    far = bytearray(image)
    far[40:48] = (4 << 30).to_bytes(8, "little")  # e_shoff
    zero = bytearray(image)
    zero[60:62] = b"\0\0"
    for crafted in (image[:64], image[:200], image[:-1], sections, far, zero):
        assert load_crafted(shared, bytes(crafted)) == "EPERM"
    shared.vm.run("modprobe kmg_param", check=True)


def test_what_is_no_module_gets_the_kernels_own_answer(shared: Guard) -> None:
    """busybox goes by it: what it has handed over packed it then unpacks."""
    image = module_image("kmg_crafted")
    for other in (b"MZ" + image[2:], b"#!/bin/sh\n" * 100, bytes(4096), b"\x7fELF", image[:40]):
        shared.vm.put("/tmp/none.ko", other)
        for way in ("init", "memfd"):
            assert shared.vm.run(f"loader {way} /tmp/none.ko").stdout == f"{way} ENOEXEC\n"
    assert "is not a kernel module" in shared.wait_log("is not a kernel module")


def test_16_a_flood_of_refused_requests_spawns_no_process(guard: Guard) -> None:
    assert guard.ask("kmg_flooded") == "exit3"  # the hook's answer, once
    forks = "awk '/^processes/ {print $2}' /proc/stat"
    before = int(guard.vm.run(forks, check=True).stdout)
    guard.vm.run("requester --repeat 2000 ask kmg_flooded")
    assert int(guard.vm.run(forks, check=True).stdout) - before < 20
    assert kernel_point(guard)["remembered"] >= 2000
    # Recorded all the same: eight a second, and how many more there were.
    assert "kmg_flooded" in guard.wait_log("kernel kmg_flooded: refused")
    assert guard.ask("kmg_param") == "ok"


def test_16_what_was_refused_is_forgotten_with_the_policy_and_with_the_index(guard: Guard) -> None:
    assert guard.ask("kmg_inner") == "exit3"
    before = kernel_point(guard)["remembered"]
    assert guard.ask("kmg_inner") == "exit3"  # the kernel's, and the caller sees no difference
    assert kernel_point(guard)["remembered"] == before + 1
    guard.ctl("allow kmg_inner", check=True)
    assert guard.ask("kmg_inner") == "ok"
    assert guard.ask("kmg_new") == "exit3"
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"alias kmg_new kmg_param\n")
    guard.ctl("reload", check=True)
    assert guard.ask("kmg_new") == "ok"


@pytest.mark.parametrize("way", ["depmod has not seen it", "there is no index"])
def test_a_listed_module_whose_aliases_are_not_known_is_refused_where_aliases_are_denied(guard: Guard, way: str) -> None:
    """kmg-twins, an alias of kmg_twin_a, is denied; with its own aliases unknown it was admitted by its name."""
    guard.vm.put(POLICY, policy(allow=["kmg_twin_a", "kmg_param"], deny_aliases=["kmg-twin[rs]"]).encode())
    guard.ctl("reload", check=True)
    assert guard.vm.run(f"loader --unload kmg_param init {raw_file_of('kmg_param')}").stdout == "init ok\n"
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"
    guard.vm.run({"depmod has not seen it": f"mv {file_of(guard.vm, 'kmg_twin_a')} /tmp && {DEPMOD}",
                  "there is no index": "mv /lib/modules/$(uname -r)/modules.dep.bin /tmp"}[way], check=True)
    guard.vm.run("while kmodctl explain kmg_twin_a | grep -q 'an alias that is denied'; do :; done", check=True)
    guard.ctl("reload", check=True)  # published by what the index has now
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"


def renew_index(guard: Guard, folder: str = "/lib/modules/$(uname -r)") -> None:
    """depmod's files are those below `folder`, and newer than the images, so that these are not asked instead of them."""
    guard.vm.run(f"cd /lib/modules/$(uname -r) && for file in *.bin; do cp {folder}/$file new && mv new $file || exit; done", check=True)


def make_index_of_another_build(guard: Guard, module: str, others: str = "") -> None:
    """By depmod's files `module` has no alias then; of other modules they know `others`."""
    file, folder = file_of(guard.vm, module), "/lib/modules/$(uname -r)"
    guard.vm.run(f"cd {folder} && mkdir -p /tmp/other$PWD && cp -r --parents {others} modules.order modules.builtin* /tmp/other$PWD && "
                 f"mkdir -p /tmp/other$(dirname {file}) && cp {file_of(guard.vm, 'kmg_param')} /tmp/other{file} && depmod -b /tmp/other",
                 check=True)
    renew_index(guard, f"/tmp/other{folder}")


@pytest.mark.parametrize(("noticed", "recorded"), [("kmodctl reload --discard", "reload discard: done"),
                                                  ("requester ask kmg_param | grep -q .", "autoload kmg_param: ")])
def test_an_alias_that_depmods_files_of_another_build_lack_is_learned_from_the_image(guard: Guard, noticed: str, recorded: str) -> None:
    """Its module was admitted by its name; later only for as long as the daemon had not come to read the image."""
    guard.vm.put(POLICY, policy(allow=["kmg_twin_a", "kmg_param"], deny_aliases=["kmg-twin[rs]"]).encode())
    renew_index(guard)
    guard.ctl("reload", check=True)
    guard.kill("STOP")
    make_index_of_another_build(guard, "kmg_twin_a")
    command = guard.vm.start(noticed)
    guard.vm.run("until [ $(grep -c kmodguard/daemon.sock /proc/net/unix) -gt 1 ]; do :; done", check=True)  # it has been asked
    guard.kill("CONT")
    assert command.wait().status == 0
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"
    guard.wait_log("withdraw kmg_twin_a: done")
    log = guard.wait_log(recorded)
    assert log.index("withdraw kmg_twin_a: done") < log.index(recorded), "there was a moment between"


def test_where_aliases_are_denied_a_module_whose_image_cannot_be_read_is_not_admitted(guard: Guard) -> None:
    """The reader has no capabilities, and root's programs have: they can load what it cannot read. depmod's files lack the alias."""
    guard.vm.put(POLICY, policy(allow=["kmg_twin_a", "kmg_param"], deny_aliases=["kmg-twin[rs]"]).encode())
    guard.vm.run(f"chown 1 {file_of(guard.vm, 'kmg_twin_a')} && chmod 600 {file_of(guard.vm, 'kmg_twin_a')}", check=True)
    make_index_of_another_build(guard, "kmg_twin_a")
    guard.ctl("reload", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"
    guard.wait_log("withdraw kmg_twin_a: done")


def test_a_module_whose_image_could_not_be_read_is_admitted_once_it_can_be(guard: Guard) -> None:
    guard.vm.put(POLICY, policy(allow=["kmg_param"], deny_aliases=["kmg-twin[rs]"]).encode())
    file = file_of(guard.vm, "kmg_param")
    guard.vm.run(f"chown 1 {file} && chmod 600 {file}", check=True)
    renew_index(guard)
    guard.ctl("reload", check=True)
    guard.wait_log("withdraw kmg_param: done")
    assert guard.vm.run(f"loader init {raw_file_of('kmg_param')}").stdout == "init EPERM\n"
    guard.vm.run(f"chown 0 {file}", check=True)
    guard.vm.run(f"until loader --unload kmg_param init {raw_file_of('kmg_param')} | grep ok; do :; done", check=True)


@pytest.mark.parametrize("machine", ["6.1"], indirect=True)
def test_of_hundreds_of_images_such_an_alias_is_learned_by_and_by(guard: Guard) -> None:
    """Publication does not wait for so many. What was learned is there at the next start, which therefore admits it for no moment."""
    guard.vm.put(POLICY, policy(allow=["kmg_twin_a"], aliases=["*"], deny_aliases=["kmg-twin[rs]"]).encode())
    make_index_of_another_build(guard, "kmg_twin_a", "kernel/net kernel/drivers/net kernel/crypto")
    guard.ctl("reload", check=True)
    guard.wait_log("withdraw kmg_twin_a: done")
    assert kernel_point(guard)["modules"] > 256, "else it would have waited"
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"
    guard.kill()
    guard.ctl("start", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init EPERM\n"


@pytest.mark.parametrize("kind", ["c", "b"])
def test_a_remembered_refusal_leads_to_the_token_of_the_whole_major_as_the_first_did(guard: Guard, kind: str) -> None:
    """The kernel asks for the second token only if request_module() gave a positive number, which an errno is not."""
    major = {"c": "char-major-240", "b": "block-major-240"}[kind]
    guard.vm.put("/etc/modprobe.d/kmg.conf", f"alias {major} kmg_param\n".encode())
    guard.ctl("reload", check=True)
    guard.vm.run(f"mknod /tmp/node {kind} 240 5", check=True)
    for _ in range(3):
        guard.vm.run("requester open /tmp/node")
        assert "kmg_param" in guard.vm.loaded()
        guard.vm.run("requester delete kmg_param", check=True)
    assert kernel_point(guard)["remembered"] >= 2


def test_a_remembered_refusal_of_a_table_of_iptables_is_a_table_that_does_not_exist(guard: Guard) -> None:
    guard.ctl("allow ip_tables", check=True)
    guard.vm.run("modprobe ip_tables", check=True)
    for _ in range(3):
        assert guard.request("table mangle", user="root").stdout == "table ENOENT\n"
    assert kernel_point(guard)["remembered"] >= 2


def test_who_asked_is_in_the_event_of_the_decision(guard: Guard) -> None:
    guard.request("socket 15 3 2")
    assert re.search(r"autoload net-pf-15: refused: .* \(by requester\[\d+\], uid 65534\)", guard.wait_log("net-pf-15"))


def test_18_the_point_goes_on_without_the_daemon(guard: Guard) -> None:
    allowed, unlisted = raw_file_of("kmg_param"), raw_file_of("kmg_inner")
    guard.kill("STOP")
    assert guard.vm.run(f"loader init {unlisted}").stdout == "init EPERM\n"
    guard.kill("CONT")
    guard.kill()
    for way in ("init", "finit"):
        assert guard.vm.run(f"loader {way} {unlisted}").stdout == f"{way} EPERM\n"
        assert guard.vm.run(f"loader --unload kmg_param {way} {allowed}").stdout == f"{way} ok\n"
    assert "keeps enforcing" in guard.ctl("status").stdout
    before = link(guard)
    guard.ctl("start", check=True)
    assert link(guard) == before  # taken over, not made anew
    assert guard.vm.run(f"loader init {unlisted}").stdout == "init EPERM\n"


def link(guard: Guard) -> str:
    return guard.vm.run("bpftool link show pinned /sys/fs/bpf/kmodguard/link_kernel_post_load_data | head -n 1", check=True).stdout


def test_18_pins_of_another_build_give_way_without_a_moment_without(guard: Guard) -> None:
    """As after an upgrade: the settings say that another object file was loaded."""
    before, unlisted = link(guard), raw_file_of("kmg_inner")
    other = guard.zeros("settings").replace("0", "1", 1)
    guard.vm.run(f"bpftool map update pinned /sys/fs/bpf/kmodguard/map_settings key 0 0 0 0 value {other}", check=True)
    attempts = guard.vm.start(f"while [ ! -e /run/enough ]; do loader init {unlisted}; done")
    guard.kill()
    guard.ctl("start", check=True)
    assert link(guard) != before
    guard.vm.run("touch /run/enough", check=True)
    assert set(attempts.wait().stdout.splitlines()) == {"init EPERM"}
    guard.vm.run("rm /run/enough", check=True)
    assert guard.vm.run("ls /sys/fs/bpf", check=True).stdout == "kmodguard\n"


def test_22_a_handler_changed_behind_its_back_does_not_open_the_kernel_point(guard: Guard) -> None:
    guard.vm.run(f"echo /sbin/modprobe > {HANDLER}", check=True)
    assert guard.ask("kmg_inner") != "ok"
    assert "kmg_inner" not in guard.vm.loaded()
    assert guard.ctl("doctor").status == 1
    guard.ctl("doctor --fix")
    assert guard.ctl("doctor").status == 0


def test_23_pins_taken_away_are_put_back(guard: Guard) -> None:
    guard.vm.run("rm /sys/fs/bpf/kmodguard/link_*", check=True)
    guard.wait_log("was attached or pinned again")
    assert guard.vm.run("ls /sys/fs/bpf/kmodguard", check=True).stdout.count("link_") == 5
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init EPERM\n"


def test_23_the_directory_taken_away_is_made_again(guard: Guard) -> None:
    guard.vm.run("rm -r /sys/fs/bpf/kmodguard", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init EPERM\n"
    guard.wait_log("pins were missing")
    before = link(guard)
    guard.kill()
    guard.ctl("start", check=True)
    assert link(guard) == before


def test_23_bpffs_that_is_mounted_again_is_no_problem_any_more(guard: Guard) -> None:
    """Status went on saying that it was not mounted, until the policy changed."""
    guard.vm.run("umount -l /sys/fs/bpf; until kmodctl status | grep -q 'bpffs is not mounted'; do :; done", check=True)
    guard.vm.run("mount -t bpf bpf /sys/fs/bpf; until [ -d /sys/fs/bpf/kmodguard ]; do :; done", check=True)
    assert kernel_point(guard)["problem"] == ""
    assert guard.vm.run("modprobe kmg_inner").status != 0


def test_23_records_taken_by_another_process_are_reported(guard: Guard) -> None:
    guard.kill("STOP")
    guard.vm.run(f"loader init {raw_file_of('kmg_inner')}; drain /sys/fs/bpf/kmodguard/map_records")
    guard.kill("CONT")
    assert "kmg_inner" not in guard.wait_log("another process has taken records of the kernel point")


def test_23_programs_kept_from_running_are_reported(guard: Guard) -> None:
    guard.vm.run("echo 0 > /proc/sys/kernel/ftrace_enabled", check=True)
    assert guard.ctl("doctor").status == 1
    guard.wait_log("ftrace_enabled is 0")
    assert "NOTHING IS JUDGED" in guard.ctl("status").stdout
    guard.vm.run("echo 1 > /proc/sys/kernel/ftrace_enabled", check=True)
    assert "NOTHING IS JUDGED" not in guard.ctl("status").stdout, "it was said for seconds more"
    guard.ctl("doctor", check=True)


def test_23_programs_kept_from_running_are_let_run_by_doctor(guard: Guard) -> None:
    """Nobody undid it."""
    guard.vm.run("echo 0 > /proc/sys/kernel/ftrace_enabled", check=True)
    assert "kernel.ftrace_enabled was 0" in guard.ctl("doctor --fix", check=True).stdout
    assert guard.vm.run("cat /proc/sys/kernel/ftrace_enabled").stdout == "1\n"
    assert "Operation not permitted" in guard.vm.run(f"insmod {raw_file_of('kmg_inner')}").stderr


def test_23_everything_taken_away_without_a_daemon_is_made_anew(guard: Guard) -> None:
    guard.kill()
    guard.vm.run("rm -r /sys/fs/bpf/kmodguard", check=True)
    guard.ctl("start", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init EPERM\n"


def test_23_an_edited_policy_map_is_put_right(guard: Guard) -> None:
    key = " ".join(f"0x{byte:02x}" for byte in b"kmg_inner".ljust(56, b"\0"))
    for name in ("policy_a", "policy_b"):
        guard.vm.run(f"bpftool map update pinned /sys/fs/bpf/kmodguard/map_{name} key {key} value " + "0 " * 16, check=True)
    guard.wait_log("the policy in the kernel was not the one published")
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init EPERM\n"


def test_23_a_frozen_map_is_replaced_when_the_daemon_starts_again(guard: Guard) -> None:
    for name in ("policy", "policy_a", "policy_b"):
        guard.vm.run(f"bpftool map freeze pinned /sys/fs/bpf/kmodguard/map_{name}", check=True)
    assert "cannot write to the map" in guard.ctl("allow kmg_inner").stderr
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init EPERM\n"
    guard.kill()
    guard.ctl("start", check=True)
    guard.ctl("allow kmg_inner", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_inner')}").stdout == "init ok\n"


@pytest.mark.parametrize("name", MACHINES)
def test_25_two_loads_of_one_refused_file_at_once(name: str) -> None:
    kernel, cmdline = MACHINES[name]
    machine = usual(kernel, 2, cmdline)
    with machine.machine(machine.started) as vm:
        guard = Guard(vm)
        for _ in range(10):
            results = guard.vm.run(f"loader pair {raw_file_of('kmg_inner')}").stdout.split()[1::2]
            assert results == ["EPERM", "EPERM"]
        assert "kmg_inner" not in guard.vm.loaded()


def test_26_dashes_and_underscores_are_alike(guard: Guard) -> None:
    guard.vm.put(POLICY, policy(allow=["kmg-param"]).encode())
    guard.ctl("reload", check=True)
    guard.vm.run("modprobe kmg-param", check=True)
    assert load_crafted(guard, module_image("kmg_param", modinfo_name="kmg-param")) == "ENOEXEC"


def test_27_a_built_in_module_on_the_deny_list_is_said_plainly(guard: Guard) -> None:
    builtin = guard.vm.run("sed -n '1s|.*/\\(.*\\)\\.ko|\\1|p' /lib/modules/$(uname -r)/modules.builtin", check=True).stdout.strip()
    guard.vm.put(POLICY, policy(deny=[builtin]).encode())
    assert "built into" in guard.ctl("lint").stdout + guard.ctl("lint").stderr
    guard.ctl("reload", check=True)
    checked = guard.ctl(f"check --json {builtin}")
    assert checked.status == 7
    assert json.loads(checked.stdout)["blocked"] is False


def test_a_denied_module_that_is_loaded_is_named_wherever_somebody_asks(guard: Guard) -> None:
    """No verb said that it is in the kernel already."""
    loaded = "unloaded: kmg_param (denied)"
    guard.vm.run("modprobe kmg_param", check=True)
    assert "kmg_param" not in guard.ctl("status").stdout
    assert loaded in guard.ctl("deny kmg_param", check=True).stderr
    guard.ctl("apply", check=True)
    assert loaded in guard.ctl("status").stdout
    assert "BAD   loaded: " in (said := guard.ctl("doctor").stdout) and loaded in said
    assert loaded in guard.ctl("lint").stdout
    assert loaded in guard.ctl("start").stderr
    assert loaded in guard.ctl("seal --dry-run").stderr
    guard.vm.run("rmmod kmg_param", check=True)
    assert "unloaded: kmg_param" not in guard.ctl("status").stdout
    assert guard.vm.run("modprobe kmg_param").status != 0


def test_without_a_valid_policy_the_record_of_a_load_says_so(guard: Guard) -> None:
    guard.ctl("stop", check=True)
    guard.vm.put(POLICY, b"nonsense\n")
    guard.vm.run("rm -r /var/lib/kmodguard", check=True)  # where the policy is that could be used last
    assert guard.ctl("start").status == 6
    assert guard.vm.run("modprobe kmg_param").status != 0
    log = guard.wait_log("kmg_param is allowed by nothing, since there is no valid policy")
    assert "kmg_param is not on the allow list" not in log


def test_a_policy_that_is_broken_since_the_last_start_leaves_that_one_in_force(guard: Guard) -> None:
    """It was an empty allowlist, and udev and modprobe were refused everything."""
    guard.ctl("stop", check=True)
    guard.vm.put(POLICY, b"nonsense\n")
    assert guard.ctl("start").status == 6
    assert "INVALID" in guard.ctl("status").stdout
    guard.vm.run("modprobe kmg_param", check=True)
    assert guard.vm.run("modprobe dummy").status != 0
    assert "Operation not permitted" in guard.vm.run(f"insmod {raw_file_of('kmg_inner')}").stderr


def test_a_loaded_module_that_is_not_allowed_is_recorded_as_loaded(guard: Guard) -> None:
    """A security hook comes before the kernel looks, so the answer is EPERM; the record tells what it was about."""
    guard.vm.run("modprobe kmg_param", check=True)
    guard.ctl("remove kmg_param", check=True)
    assert guard.vm.run("modprobe kmg_param").status == 0  # which looks first, and asks nobody
    assert "Operation not permitted" in guard.vm.run(f"insmod {raw_file_of('kmg_param')}").stderr
    guard.wait_log("a module of this name is loaded; without the guard the kernel would say that it exists")


def test_a_cipher_that_a_kernel_thread_asks_for_is_not_roots(guard: Guard) -> None:
    """The parts of a cipher are asked for by the kernel's thread, whoever wants the whole."""
    guard.vm.put(POLICY, policy(allow=["af_alg", "algif_skcipher"]).encode())
    guard.ctl("reload", check=True)
    guard.vm.run("requester alg skcipher 'cbc(nosuchcipher)'", user="nobody")
    log = guard.wait_log("thread cryptomgr_probe")
    assert re.search(r"autoload crypto-\S+: refused: .* \(by the kernel's thread cryptomgr_probe\[\d+\]\)", log)
    assert not re.search(r"cryptomgr_probe\[\d+\], uid", log)
    assert re.search(r"autoload crypto-cbc\(nosuchcipher\): refused: .* \(by requester\[\d+\], uid 65534\)", log)


def test_audit_mode_refuses_nothing_and_records_everything(guard: Guard) -> None:
    guard.ctl("mode audit", check=True)
    guard.vm.run(f"insmod {raw_file_of('kmg_inner')}", check=True)
    assert re.search(r"kernel \S+kmg_inner.ko: would be refused", guard.wait_log("would be refused: kmg_inner"))
    assert load_crafted(guard, b"not a module at all" * 10) == "ENOEXEC"
    assert kernel_point(guard)["audited"] >= 2


def test_an_alias_pattern_admits_the_modules_behind_it_and_what_they_need(guard: Guard) -> None:
    guard.vm.put(POLICY, policy(aliases=["kmg-twin*"], deny=["kmg_twin_b"]).encode())
    guard.ctl("reload", check=True)
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_a')}").stdout == "init ok\n"
    assert guard.vm.run(f"loader init {raw_file_of('kmg_twin_b')}").stdout == "init EPERM\n"


def test_points_can_leave_it_out(guard: Guard) -> None:
    guard.vm.put(POLICY, b'version = 1\npoints = ["autoload"]\n[allow]\nmodules = []\n')
    guard.ctl("reload", check=True)
    assert kernel_point(guard)["active"] is False
    guard.vm.run("modprobe kmg_inner", check=True)


def test_points_can_bring_it_back(guard: Guard) -> None:
    """It stayed away until the daemon was started anew, and `reload` said nothing of that."""
    before = policy(allow=ALLOWED).encode()
    for _ in range(2):
        guard.vm.put(POLICY, b'version = 1\npoints = ["autoload"]\n[allow]\nmodules = []\n')
        guard.ctl("reload", check=True)
        assert guard.vm.run("ls /sys/fs/bpf", check=True).stdout == ""
        guard.vm.run("modprobe kmg_inner && requester delete kmg_inner", check=True)
        guard.vm.put(POLICY, before)
        assert guard.ctl("reload", check=True).stderr == ""
        point = kernel_point(guard)
        assert point["active"] is True and point["problem"] == ""
        assert guard.vm.run("modprobe kmg_inner").status != 0
        guard.vm.run("modprobe kmg_param && requester delete kmg_param", check=True)
        assert guard.vm.run("kmodctl doctor | grep -E '^BAD +(pins|kernel)'").stdout == ""


def test_audit_mode_whose_end_fails_once_ends_all_the_same(machine: Prepared) -> None:
    """The machine stayed in audit mode for ever, and `status` showed no time left."""
    with machine.machine(machine.ready) as vm:
        guard = Guard(vm)
        vm.put(POLICY, policy(allow=ALLOWED).encode())
        vm.run("LD_PRELOAD=/usr/lib/fail_bpf.so kmodctl start", check=True)
        vm.run("kmodctl mode audit --for 5s && touch /run/fail-bpf", check=True)
        guard.wait_log("mode-end audit: failed: not in force yet: ")
        guard.wait_log("publish mode enforce: failed: ")
        daemon = guard.status()["daemon"]
        assert (daemon["mode"], daemon["wanted_mode"]) == ("audit", "enforce")
        assert "Cannot allocate memory" in daemon["wanted_problem"]
        assert "WANTED: enforce, and not in force because" in guard.ctl("status").stdout
        assert "BAD   policy: a stricter one is wanted (mode enforce)" in guard.ctl("doctor").stdout
        refused = guard.ctl("deny kmg_param")
        assert refused.status == 1 and "it is kept, and tried again" in refused.stderr
        # The kernel point ends it by itself, at the full second that follows.
        vm.run("until ! modprobe kmg_inner; do requester delete kmg_inner; done", check=True)
        vm.run("rm /run/fail-bpf", check=True)
        guard.wait_log("publish mode enforce: done")
        assert "wanted_mode" not in guard.status()["daemon"]
        assert vm.run("modprobe kmg_inner").status != 0
        assert vm.run("modprobe kmg_param").status != 0, "denied meanwhile"


def test_audit_mode_for_a_limited_time_ends_without_the_daemon(guard: Guard) -> None:
    """Where nobody starts a dead daemon again, and while one hangs, the kernel point let everything pass for ever."""
    guard.ctl("mode audit --for 2s", check=True)
    guard.kill("STOP")
    guard.vm.run("until ! modprobe kmg_inner; do requester delete kmg_inner; done", check=True)
    guard.vm.run("modprobe kmg_param", check=True)
    guard.kill()
    assert guard.vm.run("modprobe kmg_inner").status != 0
    assert kernel_point(guard)["problem"] == ""


def test_status_says_that_a_dead_daemon_has_left_audit_mode_behind(guard: Guard) -> None:
    """It said "keeps enforcing" of a machine on which everything passed."""
    guard.ctl("mode audit", check=True)
    guard.kill()
    assert "AUDIT MODE" in guard.ctl("status").stdout
    guard.vm.run("modprobe kmg_inner", check=True)


def test_stop_takes_it_away(guard: Guard) -> None:
    guard.ctl("stop", check=True)
    assert guard.vm.run("ls /sys/fs/bpf", check=True).stdout == ""
    guard.vm.run("modprobe kmg_inner", check=True)


def test_the_daemon_that_holds_it_has_no_capability(guard: Guard) -> None:
    status = guard.vm.run(f"cat /proc/{guard.pid()}/status", check=True).stdout
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
    assert json.loads(guard.ctl("status --json").stdout)


def test_an_alias_that_is_denied_keeps_its_module_out_whoever_loads_it(guard: Guard) -> None:
    """It was taken for the name of a module, which denied nothing."""
    guard.vm.put(POLICY, policy(allow=["af_key"], deny=["net-pf-15"]).encode())
    guard.ctl("reload", check=True)
    assert "Operation not permitted" in guard.vm.run("modprobe af_key").stderr
    guard.ctl("remove net-pf-15", check=True)
    guard.vm.run("modprobe af_key && modprobe -r af_key", check=True)
    assert "af_key has it, and is denied with it" in guard.ctl("deny net-pf-15", check=True).stdout
    assert "Operation not permitted" in guard.vm.run("modprobe af_key").stderr
    assert guard.request("socket 15 3 2").status != 0 and "af_key" not in guard.vm.loaded()
