from __future__ import annotations

import pytest
from jupyterhub.spawner import SpawnException
from tornado.web import HTTPError

from arcetri_hub.pages.refusals import Refused, refusal_of
from arcetri_spawner.errors import Busy, Denied, StorageFull
from arcetri_spawner.jupyterhub import PolicyRefusal
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.reasons import ALL_CODES


def test_what_the_spawner_raised_is_found_again() -> None:
    error = Denied("No.", code="session_limit", remedy="Stop one.")
    shown = refusal_of(PolicyRefusal(error))
    assert (shown.status, shown.code, shown.message, shown.remedy) == (
        403,
        "session_limit",
        "No.",
        "Stop one.",
    )


def test_a_cause_is_found_behind_another_exception() -> None:
    wrapped = RuntimeError("boom")
    wrapped.__cause__ = Busy("All in use.", code="busy_capacity")
    assert refusal_of(wrapped).code == "busy_capacity"


def test_a_fault_of_ours_tells_nothing_of_its_insides() -> None:
    shown = refusal_of(KeyError("/srv/secret/path"))
    assert shown.status == 500
    assert "secret" not in shown.message + shown.remedy
    assert shown.remedy


def test_jupyterhubs_own_500_tells_nothing_of_its_insides() -> None:
    error = HTTPError(500, "Spawner failed to start [status=1]. The logs for x may help")
    assert "logs" not in refusal_of(error).message


def test_jupyterhubs_own_refusals_keep_their_sentence() -> None:
    shown = refusal_of(HTTPError(400, "Invalid server_name: 'é'"))
    assert (shown.status, shown.code) == (400, "bad_request")
    assert "server_name" in shown.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 418, 429, 500, 502, 503])
def test_jupyterhubs_own_refusals_say_what_to_do(status: int) -> None:
    assert refusal_of(HTTPError(status)).remedy.endswith(".")
    assert refusal_of(None, status).remedy.endswith(".")
    assert refusal_of(SpawnException("no", reason="x", status_code=status)).remedy.endswith(".")


def test_a_spawn_exception_of_others_keeps_its_sentence() -> None:
    shown = refusal_of(SpawnException("no image", reason="image", status_code=409))
    assert (shown.status, shown.message) == (409, "no image")


def test_a_percent_sign_in_a_sentence_is_only_that() -> None:
    refused = Refused(Denied("100 %s of it", code="x"))
    assert "100 %s of it" in str(refused)


def test_a_choice_that_cannot_be_read_is_the_clients_mistake() -> None:
    error = reasons.denied(reasons.invalid_options("it is a list"))
    assert refusal_of(error).status == refusal_of(PolicyRefusal(error)).status == 400
    assert Refused(error).status_code == PolicyRefusal(error).status_code == 400


def test_an_iam_that_is_silent_is_nobodys_fault_for_good() -> None:
    error = reasons.denied(reasons.identity_unknown())
    assert refusal_of(error).status == refusal_of(PolicyRefusal(error)).status == 503
    assert refusal_of(StorageFull("full")).status == 503


@pytest.mark.parametrize("code", ALL_CODES)
def test_each_code_belongs_beside_a_field_or_to_the_whole_form(code: str) -> None:
    field = refusal_of(Denied("x", code=code)).field
    assert field in ("", "flavor", "group", "environment", "size")
    for noun in ("flavor", "group", "environment", "size"):
        if code.startswith(noun):
            assert field == noun
