from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from arcetri_hub.cli.up import up
from arcetri_hub.up.banner import Ready, as_json, as_text
from arcetri_hub.up.options import RealIam, UpOptions
from arcetri_hub.up.prepare import Plan, prepare
from arcetri_hub.up.statefolder import StateFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    opened = StateFolder.open(tmp_path / "state")
    yield opened
    opened.close()


def ready(plan: Plan) -> Ready:
    return Ready(plan=plan, simulated=["2 x NVIDIA T4"], adopted=1, pid=5)


def test_it_says_that_anyone_here_can_change_the_development_iam(folder: StateFolder) -> None:
    plan = prepare(UpOptions(state=folder.path), folder, [])

    text = " ".join(as_text(ready(plan)).split())

    assert (
        "anyone on this machine can change its people and groups, without a password, at"
        f" {plan.settings.iam.issuer} "
    ) in text
    assert "NOT isolated" in text
    assert "Still running from before: 1 session." in text


@pytest.mark.parametrize("why", ["", "not permitted"])
def test_it_says_where_accounts_have_no_names(folder: StateFolder, why: str) -> None:
    plan = prepare(UpOptions(state=folder.path), folder, [])
    settings = plan.settings.model_copy(update={"accounts": True})
    accounts = replace(plan, settings=settings, no_mounts=why)

    text = as_text(ready(accounts))

    assert "a system account of their own" in text
    assert ("without a name" in text) == bool(why)


def test_it_names_every_group_that_the_iam_does(folder: StateFolder) -> None:
    plan = prepare(UpOptions(state=folder.path), folder, [])

    users = {user["name"]: user["groups"] for user in json.loads(as_json(ready(plan)))["users"]}

    assert users["chiara"] == ["/arcetri", "/arcetri/cms", "/arcetri/cms/leads"]
    assert users["elena"] == []
    assert " /arcetri /arcetri/cms /arcetri/cms/leads " in " ".join(as_text(ready(plan)).split())


def test_the_help_names_what_the_line_for_scripts_holds(folder: StateFolder) -> None:
    plan = prepare(UpOptions(state=folder.path), folder, [])
    (option,) = (one for one in up.params if one.name == "as_json")
    assert isinstance(option, click.Option)

    named = re.findall(r'"(\w+)"', option.help or "")

    assert named == list(json.loads(as_json(ready(plan))))


def test_the_agents_metrics_are_named_and_stay_at_their_port(folder: StateFolder) -> None:
    first = prepare(UpOptions(state=folder.path), folder, [])
    url = first.usage.agent_metrics_url
    assert url in as_text(ready(first))
    assert json.loads(as_json(ready(first)))["agent_metrics"] == url
    assert prepare(UpOptions(state=folder.path), folder, []).usage.agent_metrics_url == url

    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", first.usage.agent_metrics_port)):
        moved = prepare(UpOptions(state=folder.path), folder, warnings).usage

    assert moved.agent_metrics_port != first.usage.agent_metrics_port
    ((target,),) = (
        one["targets"] for one in json.loads((folder.path / "agent-metrics.json").read_text())
    )
    assert moved.agent_metrics_url == f"http://{target}/metrics"
    assert any(str(moved.agent_metrics_port) in warning for warning in warnings)


def test_with_a_real_iam_nobody_is_told_to_change_people(
    folder: StateFolder, tmp_path: Path
) -> None:
    iam = RealIam("https://iam.example.org/", "arcetri", tmp_path / "secret")
    plan = prepare(UpOptions(state=folder.path, iam=iam), folder, [])

    text = as_text(ready(plan))

    assert "anyone" not in text
    assert "People log in at https://iam.example.org/" in text
    assert plan.settings.callback_url in text
    assert json.loads(as_json(ready(plan)))["users"] == []
