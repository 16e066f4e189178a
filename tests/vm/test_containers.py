# SPDX-License-Identifier: AGPL-3.0-only
"""Containers under crun, on a kernel that really loads what the agent lets pass; the agent as its unit runs it, sandbox and all."""

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from guard import POLICY, policy
from images import module_image
from machine import Machine, Result

PROFILE = Path(__file__).resolve().parents[2] / "data/seccomp-kmodguard.json"
UNIT = "kmodguard-oci-agent.service"
MODULES = ("kmg_param", "kmg_inner", "kmg_twin_a")
FILES = {
    "/root/container/bin/busybox": Path(shutil.which("busybox") or ""),
    POLICY: policy(allow=["kmg_param"]),
    "/etc/kmodguard/containers/pretends.toml": policy(allow=["kmg_inner"]) + 'answer = "pretend"\n',
    "/etc/kmodguard/containers/serves.toml": policy(allow=["kmg_param"]).replace("[allow]\n", "[allow]\nuser_namespaces = true\n"),
    "/etc/kmodguard/containers/strict.yaml": "plugins: {kmods: {allowlist: [kmg_twin_a]}}\n",
}
CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": [], "env": ["PATH=/bin"],
                "capabilities": {kind: ["CAP_SYS_MODULE", "CAP_SETFCAP"] for kind in ("bounding", "effective", "permitted")}},
    "root": {"path": "/root/container", "readonly": True},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")], "seccomp": json.loads(PROFILE.read_text())},
}


class Host:
    containers = itertools.count(1)

    def __init__(self, vm: Machine) -> None:
        self.vm = vm
        self.number = 0  # of the last container

    def load(self, module: str, parameters: str = "", policy_name: str = "", call: str = "finit", capable: bool = True,
             mapped: bool = False, words: Sequence[str] = ()) -> Result:
        """Loads a module from within a container of its own."""
        self.number = next(self.containers)
        config = json.loads(json.dumps(CONFIG))
        config["process"]["args"] = [*words, "/bin/loader", *(["--params", parameters] if parameters else []), call, f"/{module}.ko"]
        if policy_name:
            config["annotations"] = {"io.kmodguard.policy": policy_name}
        if not capable:
            for held in config["process"]["capabilities"].values():
                held.remove("CAP_SYS_MODULE")
        if mapped:  # users of its own, as with podman's --uidmap
            config["linux"]["namespaces"].append({"type": "user"})
            for kind in ("uidMappings", "gidMappings"):
                config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        bundle = f"/root/bundle-{self.number}"
        self.vm.put(f"{bundle}/config.json", json.dumps(config))
        return self.vm.run(f"crun --cgroup-manager=disabled run --no-pivot -b {bundle} container-{self.number}")

    def journal(self) -> list[dict]:
        """The last container's events, once the journal has them."""
        name = f"KMODGUARD_REQUESTER_CONTAINER=container-{self.number}"
        self.vm.run(f"until journalctl -q -o json {name} | grep -q .; do :; done", check=True)
        return [json.loads(line) for line in self.vm.run(f"journalctl -o json {name}", check=True).stdout.splitlines()]


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    with Machine("6.1", init="systemd", files=FILES, packages=["crun"], name="test_containers") as machine:
        machine.wait_booted()
        machine.run("chmod 755 /root && mkdir -p /root/container/bin /root/container/proc /root/container/dev "
                    "&& cp /usr/bin/loader /root/container/bin/", check=True)
        for module in MODULES:
            machine.run(f"cp $(modinfo -n {module}) /root/container/{module}.ko", check=True)
        machine.run(f"systemctl start {UNIT}", check=True)
        yield machine


@pytest.fixture
def host(vm: Machine) -> Iterator[Host]:
    yield Host(vm)
    for module in vm.loaded() & set(MODULES):
        vm.run(f"requester delete {module}", check=True)


def test_an_allowed_module_really_loads_with_its_parameter(host: Host) -> None:
    assert host.load("kmg_param", "number=7").status == 0
    assert "kmg_param" in host.vm.loaded()
    assert "7" in host.vm.run("cat /sys/module/kmg_param/parameters/number").stdout.split()
    (event,) = host.journal()
    assert event["KMODGUARD_VERDICT"] == "allow" and event["KMODGUARD_ANSWER"] == "0" and event["KMODGUARD_MODULE"] == "kmg_param"


def test_the_same_from_memory(host: Host) -> None:
    assert host.load("kmg_param", call="init").status == 0
    assert "kmg_param" in host.vm.loaded()


def test_an_unlisted_one_is_refused_and_not_loaded(host: Host) -> None:
    assert "EPERM" in host.load("kmg_inner").stdout
    assert "kmg_inner" not in host.vm.loaded()
    (event,) = host.journal()
    assert event["KMODGUARD_VERDICT"] == "refuse" and event["KMODGUARD_FILE"].endswith("/kmg_inner.ko")


def test_the_annotation_chooses_a_policy(host: Host) -> None:
    assert host.load("kmg_inner", policy_name="pretends").status == 0
    assert "kmg_inner" in host.vm.loaded()
    assert host.load("kmg_twin_a", policy_name="strict").status == 0
    assert "kmg_twin_a" in host.vm.loaded()


def test_a_pretended_one_is_not_loaded(host: Host) -> None:
    assert host.load("kmg_param", policy_name="pretends").status == 0
    assert host.load("kmg_param", policy_name="strict").status == 0, "YAML policies pretend"
    assert "kmg_param" not in host.vm.loaded()


def test_a_policy_that_does_not_exist_allows_nothing(host: Host) -> None:
    assert "EPERM" in host.load("kmg_param", policy_name="nobody-wrote-it").stdout
    assert "kmg_param" not in host.vm.loaded()


def test_row_14_a_container_without_the_capability_gets_what_the_kernel_would_say(host: Host) -> None:
    assert "EPERM" in host.load("kmg_param", capable=False).stdout
    assert "kmg_param" not in host.vm.loaded()
    assert "CAP_SYS_MODULE" in host.vm.run(f"journalctl -o json KMODGUARD_REQUESTER_CONTAINER=container-{host.number}").stdout


def test_row_14_a_container_in_a_user_namespace_is_told_why_nothing_loads(host: Host) -> None:
    assert "EPERM" in host.load("kmg_param", mapped=True).stdout
    assert "kmg_param" not in host.vm.loaded()
    (event,) = host.journal()
    assert "allow.user_namespaces" in event["MESSAGE"]


def test_a_container_in_a_user_namespace_is_served_where_its_policy_says_so(host: Host) -> None:
    host.vm.put("/root/container/kmg_twin_b.ko", module_image("kmg_param"))  # the name alone, which is enough
    assert host.load("kmg_twin_b", policy_name="serves", mapped=True).status == 0
    assert "kmg_param" in host.vm.loaded()
    assert "EPERM" in host.load("kmg_inner", policy_name="serves", mapped=True).stdout
    assert "EPERM" in host.load("kmg_param", "number=7", policy_name="serves", mapped=True).stdout


def test_row_14_a_container_gains_nothing_by_a_user_namespace_of_its_own(host: Host) -> None:
    """Its root is the machine's, without the capability; and in the other container the namespace is not the container's."""
    within = ["/bin/busybox", "unshare", "-U", "-r"]
    for mapped in (False, True):
        assert "EPERM" in host.load("kmg_param", policy_name="serves", capable=False, mapped=mapped, words=within).stdout
        (event,) = host.journal()
        assert "not that of the container" in event["MESSAGE"]
    assert "kmg_param" not in host.vm.loaded()


def test_a_restarted_agent_serves_new_containers(host: Host) -> None:
    host.vm.run(f"systemctl kill -s KILL {UNIT}; until systemctl is-active -q {UNIT} && [ -S /run/kmodguard/oci-agent.sock ]; do :; done", check=True)
    host.vm.run(f"systemctl restart {UNIT}", check=True)
    assert host.load("kmg_param").status == 0
    assert "kmg_param" in host.vm.loaded()
