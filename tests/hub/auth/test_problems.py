"""What a person reads when a login cannot go on."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment

from arcetri_hub.auth import IamAuthenticator, problems
from arcetri_hub.auth.answers import Answer, AnswerKind
from arcetri_hub.auth.client import IamSilentError
from arcetri_spawner.policy import reasons
from tests.hub.auth.hub_process import free_port
from tests.support.builders import ASTRO, CMS

SERVICE = "the demonstration IAM"


def refused(code: str) -> Answer:
    return Answer(AnswerKind.NOT_ADMITTED, code)


PROBLEMS = [
    problems.iam_silent(SERVICE),
    problems.client_refused(SERVICE),
    problems.bad_answer(SERVICE),
    problems.not_active(SERVICE, refused("invalid_grant")),
    problems.not_active(SERVICE, refused("unauthorized")),
    problems.refused(reasons.not_allowed("Lab", (CMS,), (), (ASTRO,))),
    problems.internal(),
    problems.state_lost(),
    *(problems.at_callback(error) for error in ("access_denied", "invalid_scope", "other")),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.page.code)
def test_sentences_begin_with_a_capital_and_end(problem: problems.LoginProblem) -> None:
    page = problem.page
    for text in (page.title, page.sentence, page.remedy):
        assert text[0].isupper()
    for text in (page.sentence, page.remedy):
        assert text.endswith(".")
        assert all(part[0].isupper() for part in text.split(". "))


def test_where_another_account_might_do_one_can_change_it() -> None:
    codes = {problem.page.code for problem in PROBLEMS if problem.page.about_account}
    assert codes == {"not_allowed", "not_active", "policy_unsigned"}


@pytest.mark.parametrize(
    ("service", "shown"),
    [(SERVICE, "The demonstration IAM"), ("{{ 7 * 7 }}<b>", "{{ 7 * 7 }}&lt;b&gt;")],
)
async def test_the_login_page_says_when_iam_is_away(service: str, shown: str) -> None:
    authenticator = IamAuthenticator(
        issuer=f"http://127.0.0.1:{free_port()}/", client_id="hub", login_service=service
    )
    with pytest.raises(IamSilentError):
        await authenticator.reachable()
    page: Any = Environment(autoescape=True).from_string(authenticator.get_custom_html("/hub/"))

    text = page.render(authenticator=authenticator, authenticator_login_url="/hub/oauth_login")

    assert f"<strong>{shown} does not answer at the moment</strong>" in text
