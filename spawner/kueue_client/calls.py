"""What can be asked about objects of one kind, as steps. Pure: nothing here talks to anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from kueue_client.base import API_VERSION, Object
from kueue_client.errors import Gone, NotFound, Unexpected, from_answer
from kueue_client.steps import APPLY_PATCH, MERGE_PATCH, Answer, Request, Steps
from kueue_client.visibility import VISIBILITY_GROUP, PendingWorkload, PendingWorkloadsSummary

O = TypeVar("O", bound=Object)  # noqa: E741  # an object
PAGE: Final = 500
"""Objects in one answer of a list."""


@dataclass(frozen=True)
class Listing(Generic[O]):
    """Objects as they were at one moment, from which a watch can go on.

    Attributes:
        items: The objects.
        resource_version: The moment.
    """

    items: tuple[O, ...]
    resource_version: str


def collection(kind: type[Object], namespace: str | None) -> str:
    """The path of a kind's objects: of one namespace, or of all.

    Raises:
        ValueError: The kind is in no namespace.
    """
    if namespace and not kind.namespaced:
        raise ValueError(f"a {kind.__name__} is in no namespace")
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"/apis/{API_VERSION}{where}/{kind.plural}"


def path(kind: type[Object], name: str, namespace: str | None, part: str = "") -> str:
    """The path of an object, or of a part of it.

    Raises:
        ValueError: The name is empty, or a namespace is missing or too much.
    """
    if not name:
        raise ValueError(f"a {kind.__name__} has a name")
    if kind.namespaced and not namespace:
        raise ValueError(f"a {kind.__name__} is in a namespace: name it")
    found = f"{collection(kind, namespace)}/{quote(name, safe='')}"
    return f"{found}/{part}" if part else found


def ask(request: Request) -> Steps[dict[str, Any]]:
    """Ask, and return the JSON of the answer.

    Raises:
        KueueError: The answer is a no, or none.
    """
    answer = yield request
    assert isinstance(answer, Answer)  # noqa: S101  # what does the steps is this package's own
    if answer.status >= 400:
        raise from_answer(answer.status, answer.body, request.path)
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise Unexpected(f"The API server answers {request.path} with no JSON.") from error
    if not isinstance(found, dict):
        raise Unexpected(f"The API server answers {request.path} with no object.")
    return found


def get(kind: type[O], name: str, namespace: str | None) -> Steps[O]:
    """Read an object."""
    found = yield from ask(Request("GET", path(kind, name, namespace)))
    return kind.from_wire(found)


def find(kind: type[O], name: str, namespace: str | None) -> Steps[O | None]:
    """Read an object; None where there is none."""
    try:
        return (yield from get(kind, name, namespace))
    except NotFound:
        return None


def list_all(
    kind: type[O], namespace: str | None, labels: str = "", fields: str = ""
) -> Steps[Listing[O]]:
    """Read all objects, page by page; when a page has become too old, all of them again."""
    chosen = selectors(labels, fields)
    while True:
        items: list[O] = []
        query: tuple[tuple[str, str], ...] = ()
        try:
            while True:
                where = collection(kind, namespace)
                asked = (*chosen, ("limit", str(PAGE)), *query)
                found = yield from ask(Request("GET", where, asked))
                items += [kind.from_wire(one) for one in found.get("items") or []]
                meta = found.get("metadata") or {}
                if not meta.get("continue"):
                    return Listing(tuple(items), str(meta.get("resourceVersion") or ""))
                query = (("continue", str(meta["continue"])),)
        except Gone:
            if not query:
                raise


def selectors(labels: str, fields: str) -> tuple[tuple[str, str], ...]:
    """The parameters that choose some of the objects."""
    both = (("labelSelector", labels), ("fieldSelector", fields))
    return tuple((name, value) for name, value in both if value)


def create(made: O, manager: str, *, dry_run: bool = False) -> Steps[O]:
    """Create an object."""
    where = collection(type(made), made.namespace or None)
    if made.namespaced and not made.namespace:
        raise ValueError(f"a {type(made).__name__} is in a namespace: name it in its metadata")
    query = (("fieldManager", manager), *_dry(dry_run))
    return type(made).from_wire((yield from ask(Request("POST", where, query, made.to_wire()))))


def apply(made: O, manager: str, *, force: bool = False, dry_run: bool = False) -> Steps[O]:
    """Make an object be so, as far as it is said, by server-side apply."""
    body = made.to_wire()
    for name in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
        body["metadata"].pop(name, None)  # what was read can be applied
    body.pop("status", None)
    query = (("fieldManager", manager), ("force", str(force).lower()), *_dry(dry_run))
    where = path(type(made), made.name, made.namespace or None)
    found = yield from ask(Request("PATCH", where, query, body, APPLY_PATCH))
    return type(made).from_wire(found)


def patch(
    kind: type[O],
    name: str,
    namespace: str | None,
    change: Mapping[str, Any],
    manager: str,
    *,
    part: str = "",
    dry_run: bool = False,
) -> Steps[O]:
    """Change an object, or its status, by a JSON merge patch."""
    query = (("fieldManager", manager), *_dry(dry_run))
    where = path(kind, name, namespace, part)
    found = yield from ask(Request("PATCH", where, query, dict(change), MERGE_PATCH))
    return kind.from_wire(found)


def delete(kind: type[Object], name: str, namespace: str | None, *, uid: str = "") -> Steps[bool]:
    """Delete an object; False where it is not there, or another of its name is."""
    options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if uid:
        options["preconditions"] = {"uid": uid}
    answer = yield Request("DELETE", path(kind, name, namespace), body=options)
    assert isinstance(answer, Answer)  # noqa: S101
    if answer.status < 400:
        return True
    if uid and answer.status == 409:
        return False
    error = from_answer(answer.status, answer.body, path(kind, name, namespace))
    if isinstance(error, NotFound):
        return False
    raise error


def _dry(dry_run: bool) -> tuple[tuple[str, str], ...]:
    return (("dryRun", "All"),) if dry_run else ()


def pending(
    queue: str, namespace: str | None, most: int | None = None
) -> Steps[tuple[PendingWorkload, ...]]:
    """Who waits in a queue, in order: a LocalQueue of a namespace, else a ClusterQueue."""
    where = f"/apis/{VISIBILITY_GROUP}/v1beta2"
    if namespace:
        where += f"/namespaces/{quote(namespace, safe='')}/localqueues"
    else:
        where += "/clusterqueues"
    where += f"/{quote(queue, safe='')}/pendingworkloads"
    found: list[PendingWorkload] = []
    while True:
        limit = PAGE if most is None else min(PAGE, most - len(found))
        query = (("limit", str(limit)), ("offset", str(len(found))))
        answer = yield from ask(Request("GET", where, query))
        page = PendingWorkloadsSummary.from_wire(answer).items
        found += page
        if len(page) < limit or len(found) == most:
            return tuple(found)
