# SPDX-License-Identifier: AGPL-3.0-only
"""Requests that an ordinary user makes the kernel send: refused and allowed as the policy says.

Each row is refused while its module is not listed, and loads it when it is.
"""

import pytest

from guard import DEPMOD, Guard

pytestmark = pytest.mark.restored

REQUESTS = {
    "socket family": ("socket 15 3 2", "af_key"),
    "socket protocol": ("socket 2 2 115", "l2tp_ip"),
    "file system": ("mount overlay", "overlay"),
    "crypto by AF_ALG": ("alg hash md4", "md4"),
    "network link type": ("link dummy", "dummy"),
    "network link type with dependencies": ("link bridge", "bridge"),
    "character device": ("open /dev/kmg_tun", "tun"),
    "queueing discipline": ("qdisc cake", "sch_cake"),
    "generic netlink family": ("genl macsec", "macsec"),
}
# What the way there takes, and is not the question: the AF_ALG family itself, for example.
NEEDED = {"md4": ["af_alg", "algif_hash"]}


@pytest.fixture
def guard(running: Guard) -> Guard:
    return running


@pytest.fixture
def device(guard: Guard) -> None:
    guard.vm.run("[ -e /dev/kmg_tun ] || { mknod /dev/kmg_tun c 10 200 && chmod 666 /dev/kmg_tun; }", check=True)


@pytest.mark.parametrize("name", REQUESTS)
def test_unlisted_module_is_not_loaded_for_an_ordinary_user(guard: Guard, device: None, name: str) -> None:
    request, module = REQUESTS[name]
    guard.start(allow=NEEDED.get(module, []))
    guard.request(request)
    assert module not in guard.vm.loaded()
    assert f"{module} is not on the allow list" in guard.wait_log(f"{module} is not on")


@pytest.mark.parametrize("name", REQUESTS)
def test_listed_module_is_loaded_for_an_ordinary_user(guard: Guard, device: None, name: str) -> None:
    request, module = REQUESTS[name]
    guard.start(allow=[module, *NEEDED.get(module, [])])
    guard.request(request)
    assert module in guard.vm.loaded()


def test_module_comes_with_the_options_of_modprobe_d(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b'options kmg_param number=7 text="two words"\n')
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg-param") == "ok"
    assert guard.vm.get("/sys/module/kmg_param/parameters/number") == b"7\n"
    assert guard.vm.get("/sys/module/kmg_param/parameters/text") == b"two words\n"


def test_module_with_an_install_command_is_left_to_the_original_modprobe(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf",
                 b"install kmg_param echo ran > /run/installed; /sbin/modprobe --ignore-install kmg_param\n")
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg-param") == "ok"
    assert guard.vm.get("/run/installed") == b"ran\n"
    assert "kmg_param" in guard.vm.loaded()


def test_module_in_a_file_of_another_name_is_loaded_by_the_name_inside(guard: Guard) -> None:
    """As packages of DKMS have them: an install line gives modprobe the file's name."""
    guard.vm.run("d=/lib/modules/$(uname -r); mkdir -p $d/updates && file=$(find $d -name 'kmg_param.ko*') && "
                 f"mv $file $d/updates/kmg-param-current.${{file##*/kmg_param.}} && {DEPMOD}", check=True)
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg_param /sbin/modprobe -i kmg-param-current $CMDLINE_OPTS\n"
                                             b"options kmg_param number=7\n")
    guard.start(allow=["kmg_twin_a"])
    for token in ("kmg_param", "kmg-param-current"):
        assert guard.ask(token) == "exit3"
    assert "kmg_param" not in guard.vm.loaded()
    guard.ctl("allow kmg_param", check=True)
    assert guard.ask("kmg_param") == "ok"
    assert guard.vm.get("/sys/module/kmg_param/parameters/number") == b"7\n"
    guard.vm.run("requester delete kmg_param", check=True)
    assert guard.ask("kmg-param-current") == "ok"
    assert "kmg_param" in guard.vm.loaded()


def test_module_in_a_file_of_another_name_is_refused_no_longer_than_its_file_is_broken(guard: Guard) -> None:
    """It stayed refused, by the kernel's memory of refusals too, until depmod ran."""
    guard.vm.run("cd /lib/modules/$(uname -r)/updates && file=$(echo kmg_param.ko*) && mv $file kmg-current.${file#kmg_param.} "
                 f"&& {DEPMOD} && cp kmg-current.* /tmp && echo broken >$(echo kmg-current.*)", check=True)
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg_param /sbin/modprobe -i kmg-current\n")
    guard.start(allow=["kmg_param"])
    for _ in range(2):
        assert guard.ask("kmg-current") == "exit3"
    assert "an image that cannot be judged" in guard.ctl("check kmg-current").stdout
    guard.vm.run("cd /lib/modules/$(uname -r)/updates && cp /tmp/kmg-current.* .", check=True)
    assert guard.ask("kmg-current") == "ok"


def test_install_line_of_no_module_loads_what_the_policy_admits_by_its_name(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg-thing /sbin/modprobe --all kmg_param kmg_twin_a\n")
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg-thing") == "exit3"
    guard.ctl("allow kmg_thing", check=True)
    assert guard.ask("kmg-thing") == "ok"
    assert guard.vm.loaded() >= {"kmg_param", "kmg_twin_a"}


def test_install_command_that_loads_a_denied_module_does_not_run(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg_param /sbin/modprobe kmg_twin_a; /sbin/modprobe -i kmg_param\n")
    guard.start(allow=["kmg_param"], deny=["kmg_twin_a"])
    assert guard.ask("kmg_param") == "exit3"
    assert not guard.vm.loaded() & {"kmg_param", "kmg_twin_a"}


def test_module_comes_with_the_options_of_the_alias_too(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b'alias kmg-alias kmg_param\noptions kmg-alias number=7\n'
                                             b'options kmg_param text="two words"\n')
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg-alias") == "ok"
    assert guard.vm.get("/sys/module/kmg_param/parameters/number") == b"7\n"
    assert guard.vm.get("/sys/module/kmg_param/parameters/text") == b"two words\n"


def test_request_for_what_an_install_line_keeps_out_is_recorded_as_that(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg_param /bin/true\n")
    guard.start(allow=["kmg_param"])
    guard.ask("kmg_param")
    assert "kmg_param" not in guard.vm.loaded()
    assert "allowed, but does not load: kmg_param is on the allow list" in guard.wait_log("kmg_param is on")


def test_install_command_of_an_unlisted_module_does_not_run(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"install kmg_param touch /run/must-not-run\n")
    guard.start()
    assert guard.ask("kmg-param") == "exit3"
    assert guard.vm.run("test -e /run/must-not-run").status == 1


def test_blacklisted_module_is_not_loaded_by_its_alias_as_with_modprobe(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"blacklist kmg_twin_a\n")
    guard.start(allow=["kmg_twin_a", "kmg_twin_b"])
    assert guard.ask("kmg-twins") == "ok"
    assert guard.vm.loaded() & {"kmg_twin_a", "kmg_twin_b"} == {"kmg_twin_b"}


def test_soft_dependencies_load_in_their_order(guard: Guard) -> None:
    guard.start(allow=["kmg_soft"])
    assert guard.ask("kmg_soft") == "ok"
    assert {"kmg_inner", "kmg_soft", "kmg_twin_a"} <= guard.vm.loaded()


def test_module_that_fails_to_load_is_reported_to_the_requester_and_logged(guard: Guard) -> None:
    guard.start(allow=["kmg_fail"])
    assert guard.ask("kmg_fail") == "exit1"
    assert "No such device" in guard.wait_log("cannot load kmg_fail")


def test_audit_mode_loads_what_it_would_refuse_and_says_so(guard: Guard) -> None:
    guard.start(mode="audit")
    guard.request("socket 15 3 2")
    assert "af_key" in guard.vm.loaded()
    assert "would be refused: af_key" in guard.wait_log("would be refused")
    assert guard.status()["daemon"]["audited"] >= 1


def test_index_made_anew_by_depmod_is_noticed(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg-new-alias") == "exit3"
    guard.vm.put("/etc/modprobe.d/new.conf", b"alias kmg-new-alias kmg_param\n")
    guard.wait_answer("kmg-new-alias", "ok")
    guard.vm.run(f"requester delete kmg_param; {DEPMOD}", check=True)
    guard.wait_answer("kmg_param", "ok")


def test_index_that_lacks_a_file_is_watched_all_the_same(guard: Guard) -> None:
    """libkmod keeps none of its files open then, and notices no change of any."""
    guard.vm.run("rm /lib/modules/$(uname -r)/modules.symbols.bin", check=True)
    guard.start(allow=["kmg_param"])
    assert guard.ask("kmg_param") == "ok"
    guard.vm.run("cd /lib/modules/$(uname -r) && mv modules.dep.bin kept.bin", check=True)
    guard.ctl("reload", check=True)
    assert "NO MODULE INDEX" in guard.ctl("status").stdout


def test_image_replaced_after_it_was_judged_is_judged_anew(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    assert guard.ctl("check kmg_param").status == 0
    release = guard.vm.run("uname -r").stdout.strip()
    find = f"find /lib/modules/{release} -name 'NAME.ko*'"
    target = guard.vm.run(find.replace("NAME", "kmg_param"), check=True).stdout.strip()
    other = guard.vm.run(find.replace("NAME", "kmg_twin_b"), check=True).stdout.strip()
    guard.vm.run(f"cp {target} /run/kept && cp {other} {target}", check=True)
    try:
        assert guard.ask("kmg_param") == "exit3"
        assert not guard.vm.loaded() & {"kmg_param", "kmg_twin_b"}
        assert "the image calls itself kmg_twin_b" in guard.wait_log("the image calls itself")
    finally:
        guard.vm.run(f"cp /run/kept {target}", check=True)


def test_old_decision_does_not_load_a_new_file_that_was_refused_meanwhile(guard: Guard) -> None:
    """The cached decision of one token was taken for current, because another token had made the new file known."""
    guard.start(allow=["kmg_twin_a"])
    assert guard.ask("kmg-twins") == "ok"
    guard.vm.run("requester delete kmg_twin_a", check=True)
    find = "find /lib/modules/$(uname -r) -name 'NAME.ko*'"
    target = guard.vm.run(find.replace("NAME", "kmg_twin_a"), check=True).stdout.strip()
    other = guard.vm.run(find.replace("NAME", "kmg_param"), check=True).stdout.strip()
    guard.vm.run(f"cp {target} /run/kept && cp {other} {target}", check=True)
    try:
        assert guard.ask("kmg_twin_a") == "exit3"
        assert guard.ask("kmg-twins") == "exit3"
        assert not guard.vm.loaded() & {"kmg_param", "kmg_twin_a"}
    finally:
        guard.vm.run(f"cp /run/kept {target}", check=True)
    assert guard.ask("kmg-twins") == "ok"


def test_modprobe_is_not_asked_for_a_name_that_means_another_module_to_it(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"alias kmg_twin_a kmg_param\ninstall kmg_twin_a /sbin/modprobe kmg_param\n")
    guard.start(allow=["kmg_twin_a"], deny=["kmg_param"])
    guard.ask("kmg-twins")
    guard.ask("kmg_twin_a")
    assert "kmg_param" not in guard.vm.loaded()


def test_soft_dependency_that_is_not_listed_does_not_come_in_by_modprobe(guard: Guard) -> None:
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"options kmg_soft " + b"x" * 2100 + b"=1\n")
    guard.start(allow=["kmg_soft"], dependencies=False)
    assert guard.ask("kmg_soft") == "exit3"
    assert not guard.vm.loaded() & {"kmg_soft", "kmg_inner", "kmg_twin_a"}
