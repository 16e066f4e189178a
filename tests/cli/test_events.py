# SPDX-License-Identifier: AGPL-3.0-only
"""The record: one event for every request of the kernel, with all that a reader asks for, and none for a question."""

from datetime import datetime, timezone

import pytest
from told import told


def hook(machine, token):
    return machine.kmodctl("hook", "-q", "--", token)


def test_a_refused_request_is_one_event(machine, daemon):
    before = datetime.now(timezone.utc)
    hook(machine, "af_key")
    event, = daemon.events(1)
    assert before <= datetime.fromisoformat(event.pop("time")) <= datetime.now(timezone.utc)
    assert event == {
        "point": "autoload", "generation": 1, "token": "af_key", "verdict": "refuse", "will_load": False,
        "judged": "refuse", "mode": "enforce", "reason": "not-listed", "blocked": True,
        "modules": [{"module": "af_key", "verdict": "refuse", "reason": "not-listed", "loads": False, "will_load": False,
                     "file": f"{machine.modules}/kernel/af_key.ko", "chain": []}],
        "explanation": "refused: af_key is not on the allow list"}


def test_an_allowed_request_names_the_rule_and_what_loads(machine, daemon):
    hook(machine, "net-pf-15")
    event, = daemon.events(1)
    rule = {"list": "allow.aliases", "text": "net-pf-15", "file": str(machine.policy), "line": 10}
    assert (event["verdict"], event["reason"], event["rule"]) == ("allow", "alias-listed", rule)
    assert event["modules"] == [{"module": "af_key", "verdict": "allow", "reason": "alias-listed", "loads": True,
                                 "will_load": True, "file": f"{machine.modules}/kernel/af_key.ko", "rule": rule,
                                 "chain": [{"module": "af_key", "required": True}]}]


def test_what_audit_mode_lets_pass_is_recorded_as_what_would_be_refused(machine, daemon):
    machine.ask("mode", "audit")
    hook(machine, "twin")
    event, = daemon.events(1)
    assert (event["verdict"], event["judged"], event["mode"], event["generation"]) == ("allow", "refuse", "audit", 2)
    assert event["explanation"].startswith("would be refused: ")
    assert [module["loads"] for module in event["modules"]] == [True, True]
    assert machine.status()["audited"] == 1


def test_questions_are_no_events(machine, daemon):
    machine.kmodctl("check", "loop", "af_key", "nothing")
    machine.kmodctl("explain", "twin")
    machine.kmodctl("status")
    machine.kmodctl("list")
    hook(machine, "nothing")
    event, = daemon.events(1)
    assert event["token"] == "nothing"
    status = machine.status()
    assert (status["allowed"], status["refused"], status["audited"]) == (0, 1, 0)


def told_of(events, token):
    return told(event for event in events if event["token"] == token)


def test_every_request_is_told_by_an_event_in_the_order_asked_or_counted_by_one(machine, daemon):
    tokens = ["af_key", "loop", "af_key", "nothing"] * 5
    for token in tokens:
        hook(machine, token)
    daemon.stop()
    events = daemon.all_events()
    assert [event["token"] for event in events[:3]] == ["af_key", "loop", "nothing"]
    assert {token: told_of(events, token) for token in set(tokens)} == {"af_key": 10, "loop": 5, "nothing": 5}
    assert len(events) < len(tokens)


def test_names_that_nothing_answers_to_are_told_together(machine, daemon):
    names = [f"nothing-{number}" for number in range(26)]
    for name in names:
        hook(machine, name)
    daemon.stop()
    events = daemon.all_events()
    assert told(events) == 26 and len(events) < 13, events
    assert {name for event in events for name in [event["token"], *event.get("other_tokens", [])]} == set(names)


def test_the_generation_tells_which_policy_judged(machine, daemon):
    hook(machine, "af_key")
    machine.ask("allow", "af_key")
    hook(machine, "af_key")
    before, after = daemon.events(2)
    assert (before["generation"], after["generation"]) == (1, 2)
    assert after["rule"] == {"list": "allow.modules", "text": "af_key"}, "given at run time: no file, no line"


def test_a_name_in_another_script_stays_as_it_is(machine, daemon):
    hook(machine, "módulo-✓")
    assert daemon.events(1)[0]["token"] == "módulo-✓"


@pytest.mark.parametrize("token", ["fs-\x7f", "fs-\u009b2J", b"fs-\xff\xfe"],
                         ids=["DEL", "C1 control", "no UTF-8"])
def test_a_name_that_cannot_be_shown_is_an_event_all_the_same(machine, daemon, token):
    assert machine.kmodctl("hook", "-q", "--", token).code in (1, 3)
    assert daemon.events(1)[0]["verdict"] == "refuse"


def test_refusals_are_also_written_to_standard_error_and_permissions_are_not(machine, daemon):
    hook(machine, "net-pf-15")
    hook(machine, "af_key")
    assert daemon.says("af_key is not on the allow list\n") == "autoload af_key: refused: af_key is not on the allow list\n"


def test_the_events_file_is_for_root_alone_and_appended_to(machine, start):
    daemon = start()
    hook(machine, "af_key")
    daemon.events(1)
    assert daemon.events_file.stat().st_mode & 0o777 == 0o600
    daemon.stop()
    daemon = start()
    hook(machine, "nothing")
    assert [event["token"] for event in daemon.events(2)] == ["af_key", "nothing"]


def test_events_are_written_before_the_daemon_ends(machine, daemon):
    for _ in range(20):
        hook(machine, "af_key")
    daemon.stop()
    assert told_of(daemon.all_events(), "af_key") == 20
