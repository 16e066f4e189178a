# SPDX-License-Identifier: AGPL-3.0-only
"""kmodctl oci-agent with real containers: crun, and runc where it is installed, hand them over, and their calls get the
answers of the policy. Nothing is loaded: no kernel takes these images. That it says so itself is how an allowed call is
told from a refused one.
"""

import errno
import json
import os
import shutil
import signal
import subprocess

import pytest
from containers import PROFILE, Agent, Container, hand_over, make_rootfs
from told import told
from machine import PATIENCE, SOURCES, line_of, run, wait_until


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    """A container's root: busybox, the program that calls, and images of modules by their name."""
    return make_rootfs(tmp_path_factory.mktemp("container") / "rootfs")


@pytest.fixture(scope="module")
def by_kernel(rootfs):
    """What the kernel itself says to such a load: an errno that no policy gives."""
    said = int(run([rootfs / "call", "finit", rootfs / "loop.ko"]).out)
    assert said not in (0, errno.EPERM), "this machine refuses, or loads, by itself"
    return said


@pytest.fixture
def start_agent(machine):
    started = []

    def start(*options):
        started.append(Agent(machine, *options))
        return started[-1]

    yield start
    for agent in started:
        agent.stop(signal.SIGKILL)
        agent.process.stdout.close()


@pytest.fixture
def agent(start_agent):
    return start_agent()


@pytest.fixture
def container(machine, rootfs):
    made = []

    def make(name="box", policy=None, runtime="crun"):
        made.append(Container(machine, rootfs, name, runtime))
        if policy is not None:
            made[-1].config["annotations"]["io.kmodguard.policy"] = policy
        return made[-1]

    yield make
    for one in made:
        one.delete()


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_calls_get_the_policys_answer_and_events_name_the_container(agent, container, by_kernel, runtime):
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    box = container("box", runtime=runtime)
    assert box.calls("finit loop", "finit shy", "init loop", "init shy") == [by_kernel, errno.EPERM] * 2
    events = agent.events(4)
    assert [event["modules"][0]["module"] for event in events] == ["loop", "shy"] * 2
    assert [event["verdict"] for event in events] == ["allow", "refuse"] * 2
    assert [event["answer"] for event in events] == [errno.errorcode[by_kernel], "EPERM"] * 2
    assert [event["call"] for event in events] == ["finit_module"] * 2 + ["init_module"] * 2
    assert {event["requester"]["container"] for event in events} == {"box"}
    assert {event["point"] for event in events} == {"process"}
    assert events[1]["file"] == "/shy.ko" and events[1]["requester"]["exe"] == "/call"
    assert (agent.logs / "modules.log").read_text() == "/loop.ko\n/shy.ko\nloop\nshy\n"
    assert agent.says("container box is under the policy")
    assert agent.says("process /shy.ko: refused: shy is not on the allow list")


def test_insmod_fails_as_it_does_without_the_right(agent, container):
    ran = container().run("insmod /shy.ko")
    assert ran.code != 0 and "Operation not permitted" in ran.err


def test_the_32_bit_table_leads_to_the_same_answer(agent, container):
    if os.uname().machine != "x86_64":
        pytest.skip("a machine with one system call table")
    ran = container().run("/call finit32 /shy.ko || echo $?")
    if ran.out == "139\n":  # SIGSEGV
        pytest.skip("this kernel has no 32-bit system calls")
    assert ran.out == f"{errno.EPERM}\n", ran
    assert agent.events(1)[0]["call"] == "finit_module"


def test_modules_that_an_alias_pattern_admits_are_known_by_the_index(agent, container, by_kernel):
    assert container().calls("finit af_key") == [by_kernel]
    assert agent.events(1)[0]["reason"] == "alias-listed"


def test_unloading_is_recorded(agent, container):
    container().calls("delete loop")
    event = agent.events(1)[0]
    assert (event["call"], event["requester"]["container"]) == ("delete_module", "box")


def test_who_has_no_right_to_load_gets_none_by_the_agent(agent, container):
    box = container()
    for kind in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][kind] = ["CAP_KILL"]
    assert box.calls("finit loop") == [errno.EPERM]
    assert agent.events(1)[0]["verdict"] == "allow", "the policy is not what refused it"


def test_roots_of_other_user_namespaces_have_no_right_to_load(agent, container):
    box = container()
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert box.calls("finit loop", "init loop") == [errno.EPERM] * 2
    for event in agent.events(2):
        assert event["verdict"] == "allow" and "user namespace" in event["note"]


def test_a_container_in_a_user_namespace_is_served_by_this_machines_files_where_its_policy_says_so(machine, start_agent, container,
                                                                                                   by_kernel):
    machine.policy.write_text(machine.policy.read_text().replace("[allow]", "[allow]\nuser_namespaces = true"))
    agent = start_agent()
    box = container()
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert box.calls("finit loop", "finit shy") == [by_kernel, errno.EPERM]
    served, refused = agent.events(2)
    assert f"{machine.modules}/kernel/loop.ko" in served["note"]
    assert refused["reason"] == "not-listed"
    assert agent.says("which serves its user namespace")


def test_a_pretending_policy_says_yes_and_does_nothing(machine, start_agent, container, by_kernel):
    machine.policy.write_text(machine.policy.read_text().replace("[deny]", '[deny]\nanswer = "pretend"'))
    agent = start_agent()
    assert container().calls("finit shy", "finit loop") == [0, by_kernel]
    assert [event["verdict"] for event in agent.events(2)] == ["refuse", "allow"]


def test_the_answer_on_the_line_wins(start_agent, container):
    start_agent("--answer", "pretend")
    assert container().calls("finit shy") == [0]


def test_the_annotation_names_the_policy_of_one_container(machine, agent, container, by_kernel):
    machine.write("etc/kmodguard/containers/shy-only.toml", 'version = 1\n[allow]\nmodules = ["shy"]\n')
    assert container("a", policy="shy-only").calls("finit loop", "finit shy") == [errno.EPERM, by_kernel]
    assert container("b").calls("finit loop", "finit shy") == [by_kernel, errno.EPERM]
    assert [event["requester"]["container"] for event in agent.events(4)] == ["a", "a", "b", "b"]
    assert agent.says("container a is under the policy " + str(machine.root / "etc/kmodguard/containers/shy-only.toml"))


def test_policies_may_lie_elsewhere_and_have_the_other_form(machine, start_agent, container, by_kernel):
    machine.write("elsewhere/project.yaml", "plugins:\n  kmods:\n    allowlist: [shy]\n    quiet: true\n")
    agent = start_agent("--policies", machine.root / "elsewhere")
    assert container(policy="project").calls("finit shy", "finit loop") == [by_kernel, 0]
    agent.events(2)
    assert agent.err() == "", "quiet"


@pytest.mark.parametrize("policy, reason", [
    ("nobody-wrote-it", "there is no"),
    ("../policy", "no policy's name"),
    ("/etc/kmodguard/policy", "no policy's name"),
    (".hidden", "no policy's name"),
    ("", "no policy's name"),
    ("broken", "broken.toml:2"),
])
def test_a_policy_that_cannot_be_had_refuses_the_container_everything(machine, start_agent, container, policy, reason):
    machine.write("etc/kmodguard/containers/broken.toml", "version = 1\nallow = 7\n")
    machine.write("etc/kmodguard/containers/.hidden.toml", 'version = 1\n[allow]\nmodules = ["loop"]\n')
    agent = start_agent("--answer", "pretend", "--policy", machine.policy)
    assert container(policy=policy).calls("finit loop", "finit shy") == [errno.EPERM] * 2
    assert [(event["verdict"], event["reason"]) for event in agent.events(2)] == [("refuse", "no-policy")] * 2
    assert agent.says("container box has no policy, everything is refused: ") and reason in agent.err()


def test_without_the_machines_policy_everything_is_refused(machine, start_agent, container):
    machine.policy.unlink()
    agent = start_agent()
    assert agent.says("containers that name no policy are refused everything")
    assert container().calls("finit loop") == [errno.EPERM]


def test_a_policy_is_read_when_its_container_starts(machine, agent, container, by_kernel):
    old = container("old").popen("read go; /call finit /shy.ko; /call finit /shy.ko; read go; /call finit /shy.ko")
    with old:
        old.stdin.write("\n")
        old.stdin.flush()
        assert [int(line_of(old)) for _ in range(2)] == [errno.EPERM] * 2
        machine.policy.write_text('version = 1\n[allow]\nmodules = ["shy"]\n')
        assert container("new").calls("finit shy") == [by_kernel]
        old.stdin.write("\n")
        old.stdin.flush()
        assert int(line_of(old)) == errno.EPERM, "it started under another"


def test_what_joins_a_container_later_is_under_its_policy(agent, container):
    box = container()
    with box.popen("echo ready; read go") as running:
        assert line_of(running) == "ready\n"
        joined = run(box.command("exec", "box", "/call", "finit", "/shy.ko"))
        assert (joined.code, joined.out) == (0, f"{errno.EPERM}\n"), joined
        running.stdin.close()
        running.stdin = None
    assert agent.events(1)[0]["requester"]["container"] == "box"


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_container_may_start_long_after_it_was_created(agent, container, no_new_privileges, machine):
    box = container()
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    box.write("/call finit /shy.ko")
    out = machine.root / "container.out"
    with open(out, "wb") as file:
        done = subprocess.run([str(word) for word in box.command("create", "-b", box.bundle, "box")], stdout=file,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert run(box.command("start", "box")).code == 0
    assert wait_until(out.read_text, "the container's word", out.parent) == f"{errno.EPERM}\n"
    agent.events(1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_without_the_agent_calls_fail_and_containers_do_not_start(agent, container, number):
    with container().popen("/call finit /shy.ko; read go; /call finit /loop.ko; /call init /shy.ko") as box:
        assert int(line_of(box)) == errno.EPERM
        agent.events(1)
        assert agent.stop(number) == (0 if number == signal.SIGTERM else -number)
        assert agent.socket.exists() == (number == signal.SIGKILL)
        box.stdin.write("\n")
        box.stdin.flush()
        assert [int(line_of(box)) for _ in range(2)] == [errno.ENOSYS] * 2
    late = container("late").run("/call finit /loop.ko")
    assert late.code != 0 and late.out == "", late


def test_an_agent_takes_the_place_of_one_that_was_killed_and_of_no_other(start_agent, container, machine):
    first = start_agent()
    second = machine.kmodctl("oci-agent", "--socket", first.socket)
    assert second.code == 1 and f"answers on {first.socket}" in second.err
    first.stop(signal.SIGKILL)
    start_agent()
    assert container().calls("finit shy") == [errno.EPERM]


def test_containers_that_may_load_nothing_push_out_nothing_of_another(agent, container, rootfs, by_kernel):
    """Four of them in a loop left 182 of 432 loads of another one in the log, and took lines of modules.log without a mark."""
    loads = 432
    (rootfs / "large.ko").write_bytes((rootfs / "shy.ko").read_bytes() + bytes(8 << 20))
    noise = [container(f"noise{number}") for number in range(4)]
    for one in noise:
        one.config["process"]["capabilities"] = {}
    running = [one.popen("for i in 1 2 3 4; do while [ ! -e /dev/end ]; do /call finit /large.ko; done & done >/dev/null; "
                         "read line; touch /dev/end; wait") for one in noise]
    ran = container("box").run(f"for i in $(seq {loads}); do /call finit /loop.ko; done")
    assert ran.out.split() == [str(by_kernel)] * loads
    for one in running:
        assert one.communicate("\n", timeout=PATIENCE)
    memory = agent.memory()
    assert memory["VmHWM"] < 200 << 20, "799 MiB once"
    assert memory["VmRSS"] < 64 << 20, "and 190 to 320 stayed"
    agent.stop()
    events = [json.loads(line) for line in (agent.logs / "events.jsonl").read_text().splitlines()]
    lines = (agent.logs / "modules.log").read_text().splitlines()
    loaded = [event for event in events if event.get("requester", {}).get("container") == "box"]
    assert len(loaded) == loads and all(event["verdict"] == "allow" for event in loaded)
    assert sum(line.endswith("/loop.ko") for line in lines) == loads
    attempts = told(event for event in events if "point" in event)
    missing = sum(int(line.split()[1]) for line in lines if line.startswith("# "))
    lost = sum(event.get("lost", 0) for event in events)
    assert attempts + lost == len([line for line in lines if line[0] != "#"]) + missing, "each attempt, in either log"



def test_many_containers_at_once_get_each_its_own(machine, agent, container, by_kernel):
    machine.write("etc/kmodguard/containers/shy-only.toml", 'version = 1\n[allow]\nmodules = ["shy"]\n')
    running = [container(f"box{number}", policy="shy-only" if number % 2 else None).popen(
        "read go; /call finit /loop.ko; /call finit /shy.ko") for number in range(8)]
    for box in running:
        box.stdin.write("\n")
        box.stdin.flush()
    answers = [box.communicate(timeout=PATIENCE)[0] for box in running]
    usual = f"{by_kernel}\n{errno.EPERM}\n"
    other = f"{errno.EPERM}\n{by_kernel}\n"
    assert answers == [usual, other] * 4
    seen = {(event["requester"]["container"], event["modules"][0]["module"]): event["verdict"]
            for event in agent.events(16)}
    assert seen == {(f"box{number}", module): "allow" if (module == "shy") == bool(number % 2) else "refuse"
                    for number in range(8) for module in ("loop", "shy")}


def test_nonsense_is_refused_with_a_word_and_others_go_on(agent, container, by_kernel):
    state = json.dumps({"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": 1, "state": {"id": "fake"}})
    with open("/dev/null", "rb") as null:
        hand_over(agent, state, [null.fileno()])
        assert agent.says("container fake is refused, its module calls fail")
        hand_over(agent, state, [null.fileno()] * 2)
        assert agent.says("the state names 1 descriptors, and 2 came")
        hand_over(agent, state[:-1], [null.fileno()])
        assert agent.says("the connection ended in the middle of the state")
        hand_over(agent, "[" * 5000, [null.fileno()])
        assert agent.says("what was sent is not a JSON object")
        hand_over(agent, '{"a":' + "[" * 5000 + "]" * 5000 + "}", [null.fileno()])
        assert agent.says("nested more than 8 deep")
        hand_over(agent, state.replace('"pid": 1', '"pid": 1, "pid": 2'), [null.fileno()])
        assert agent.says("two members of an object have one name")
    hand_over(agent, state)
    assert agent.says("the state names 1 descriptors, and 0 came")
    assert agent.err().count(f"by process {os.getpid()} is refused") == 6
    assert container().calls("finit loop") == [by_kernel]


def test_the_socket_is_roots_alone(agent):
    assert agent.socket.stat().st_mode & 0o777 == 0o600


def test_json_has_all_that_is_said(start_agent, container):
    agent = start_agent("--json")
    container().calls("finit loop", "finit shy")
    agent.events(2)
    lines = wait_until(lambda: len(found := agent.err().splitlines()) >= 3 and found, "three lines", agent.err_file.parent)
    notice, *events = [json.loads(line) for line in lines]
    assert (notice["container"], notice["refused"]) == ("box", False) and "under the policy" in notice["notice"]
    assert sorted(event["verdict"] for event in events) == ["allow", "refuse"]


def test_quiet_leaves_what_is_wrong(start_agent, container):
    agent = start_agent("--quiet")
    container("a").calls("finit shy")
    agent.events(1)
    assert agent.err() == ""
    container("b", policy="none").calls("finit shy")
    assert agent.says("container b has no policy")


@pytest.mark.parametrize("options, code, text", [
    ([], 2, "no socket"),
    (["--socket", "@/s", "--answer", "maybe"], 2, "maybe"),
    (["--socket", "@/s", "--policy", "@/none.toml"], 4, "none.toml"),
    (["--socket", "@/s", "--kernel", "0.0.0"], 4, "0.0.0"),
    (["--socket", "@/none/s"], 4, "none/s"),
    (["--socket", "@/" + "s" * 120], 2, "too long"),
])
def test_what_cannot_work_is_said_at_once(machine, options, code, text):
    ran = machine.kmodctl("oci-agent", *(option.replace("@", str(machine.root)) for option in options))
    assert ran.code == code and text in ran.err, ran


def test_the_profile_names_the_calls_and_the_socket_of_the_unit():
    calls = ["init_module", "finit_module", "delete_module"]
    assert PROFILE["syscalls"] == [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]
    unit = (SOURCES / "data/systemd/kmodguard-oci-agent.service.in").read_text()
    assert f"oci-agent --socket {PROFILE['listenerPath']}\n" in unit
