"""Each answer that is no yes becomes the error that says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kueue_client import errors
from kueue_client.errors import KueueError, from_answer

WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/n/workloads"
NAMED = {"details": {"name": "one", "kind": "workloads"}}
POSITIONS = "/apis/visibility.kueue.x-k8s.io/v1beta2/clusterqueues/q/pendingworkloads"
# What API servers 1.36 with Kueue 0.19 said.
WEBHOOK = (
    'Internal error occurred: failed calling webhook "mworkload.kb.io": failed to call webhook:'
    ' Post "https://kueue-webhook-service.kueue-system.svc:443/x": no endpoints available'
)
DENIED = (
    'admission webhook "vworkload.kb.io" denied the request: status.admission: Required value: must'
    " be set while the QuotaReserved condition is true"
)


def status(code: int, reason: str, message: str, **more: Any) -> bytes:
    found = {"kind": "Status", "code": code, "reason": reason, "message": message, **more}
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("code", "body", "path", "kind"),
    [
        (500, status(500, "InternalError", WEBHOOK), WORKLOADS, errors.WebhookDown),
        (403, status(403, "Forbidden", DENIED), WORKLOADS, errors.Invalid),
        (403, status(403, "Forbidden", "bob cannot list"), WORKLOADS, errors.Forbidden),
        (401, status(401, "Unauthorized", "Unauthorized"), WORKLOADS, errors.Unauthorized),
        (404, status(404, "NotFound", "not found", **NAMED), WORKLOADS, errors.NotFound),
        (404, b"404 page not found\n", WORKLOADS, errors.NotInstalled),
        (409, status(409, "AlreadyExists", "exists", **NAMED), WORKLOADS, errors.AlreadyExists),
        (409, status(409, "Conflict", "modified", **NAMED), WORKLOADS, errors.Conflict),
        (410, status(410, "Expired", "too old"), WORKLOADS, errors.Gone),
        (422, status(422, "Invalid", "is invalid"), WORKLOADS, errors.Invalid),
        (400, status(400, "BadRequest", "strict decoding"), WORKLOADS, errors.Invalid),
        (429, status(429, "TooManyRequests", "later"), WORKLOADS, errors.Unreachable),
        (503, b"<html>bad gateway</html>", WORKLOADS, errors.Unreachable),
        (503, status(503, "ServiceUnavailable", "x"), POSITIONS, errors.VisibilityDown),
        (418, status(418, "Teapot", "no"), WORKLOADS, errors.Refused),
    ],
)
def test_an_answer_becomes_its_error(
    code: int, body: bytes, path: str, kind: type[KueueError]
) -> None:
    assert type(from_answer(code, body, path)) is kind


def test_what_is_wrong_with_an_object_is_said_with_its_place() -> None:
    causes = [{"field": "spec.podSets", "message": "too many"}]
    found = from_answer(422, status(422, "Invalid", "no", details={"causes": causes}), WORKLOADS)
    assert isinstance(found, errors.Invalid)
    assert found.causes == (("spec.podSets", "too many"),)
    denied = from_answer(403, status(403, "Forbidden", DENIED), WORKLOADS)
    assert str(denied).startswith("Kueue refuses it: status.admission: Required value")


def test_every_error_has_a_code_of_its_own_and_is_in_the_tree() -> None:
    def below(kind: type[KueueError]) -> list[type[KueueError]]:
        return [kind, *(one for inner in kind.__subclasses__() for one in below(inner))]

    kinds = below(KueueError)
    codes = [one.code for one in kinds]
    assert len(set(codes)) == len(codes)
    tree = errors.__doc__ or ""
    assert [one.__name__ for one in kinds if f"{one.__name__} " not in tree] == []


def test_a_message_ends_once_and_is_followed_by_what_to_do() -> None:
    found = from_answer(500, status(500, "InternalError", WEBHOOK), WORKLOADS)
    assert str(found).startswith("Kueue's webhook mworkload.kb.io does not answer. Ask again")
