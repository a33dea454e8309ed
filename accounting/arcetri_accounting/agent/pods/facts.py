"""What a pod says: whose session it is, and from when to when its containers ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from arcetri_accounting.contract import podmarks
from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.contract.usage import Allocation, FlavorType

TERMINAL: Final = frozenset({"Succeeded", "Failed"})
_flavor_type: Final[TypeAdapter[FlavorType]] = TypeAdapter(FlavorType)


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a container ran, in milliseconds since 1970.

    Kubernetes says both in whole seconds, rounded down.
    """

    began: int
    over: bool = False
    """It will not run again."""
    ended: int | None = None
    """When it last ended, where that is known."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    lives: Mapping[str, Life]
    """Of each container that has begun, also of those that run beside the others from before."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A session, as its pod's marks say it."""

    session: str
    username: str
    terms: Allocation
    """What was granted: without device."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A pod that is there no more."""

    pod: Pod
    """As it was last."""
    at: int
    """When that was heard, by CLOCK_BOOTTIME in milliseconds."""
    told: bool
    """The server said so at once; else it was missing in a later list."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of this node's pods."""

    pods: Mapping[str, Pod]
    """By uid."""
    gone: tuple[Gone, ...] = ()
    """Since the snapshot before."""


class BadMarks(Exception):
    """A pod is marked as a session's, and says something that cannot be."""


def read_pod(item: Mapping[str, Any]) -> Pod:
    """Read a pod as the API server gives it."""
    metadata: Mapping[str, Any] = item.get("metadata") or {}
    spec: Mapping[str, Any] = item.get("spec") or {}
    status: Mapping[str, Any] = item.get("status") or {}
    over = status.get("phase") in TERMINAL
    policy = str(spec.get("restartPolicy") or "Always")
    beside = {
        one["name"]
        for one in spec.get("initContainers") or ()
        if one.get("restartPolicy") == "Always"
    }
    lives: dict[str, Life] = {}
    for kind in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(kind) or ():
            name = str(one.get("name", ""))
            again = "Always" if name in beside else policy
            life = _life(one, over=over, policy=again)
            if life is not None:
                lives[name] = life
    return Pod(
        uid=str(metadata.get("uid", "")),
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        labels=dict(metadata.get("labels") or {}),
        annotations=dict(metadata.get("annotations") or {}),
        lives=lives,
    )


def read_marks(pod: Pod) -> Marked | None:
    """Read whose session a pod is; None where it is not marked as one.

    Raises:
        BadMarks: Something of it is missing or cannot be.
    """
    if podmarks.SESSION not in pod.labels:
        return None
    raw = pod.annotations
    try:
        terms = Allocation(
            session=str(UUID(pod.labels[podmarks.SESSION])),
            account=raw.get(podmarks.ACCOUNT, ""),
            group=raw[podmarks.GROUP],
            kind="batch" if pod.labels.get(podmarks.KIND) == "batch" else "notebook",
            flavor=pod.labels[podmarks.FLAVOR],
            flavor_type=_flavor_type.validate_python(raw.get(podmarks.FLAVOR_TYPE)),
            share=Fraction(raw.get(podmarks.SHARE, "1")),
            catalog=raw.get(podmarks.CATALOG, ""),
            millicores=round(float(raw.get(podmarks.CPU, "0")) * 1000),
            memory=int(raw.get(podmarks.MEMORY, "0")),
        )
        username = raw[podmarks.USERNAME]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "flavor_type"
        raise BadMarks(f"{where}: {first['msg']}") from None
    except KeyError as error:
        raise BadMarks(f"{error.args[0]} is missing") from None
    except (ValueError, ZeroDivisionError, OverflowError):
        raise BadMarks("a number or an id is none") from None
    return Marked(terms.session, username, terms)


def _life(status: Mapping[str, Any], *, over: bool, policy: str) -> Life | None:
    state: Mapping[str, Any] = status.get("state") or {}
    last: Mapping[str, Any] = (status.get("lastState") or {}).get("terminated") or {}
    running, ended = state.get("running"), state.get("terminated")
    now: Mapping[str, Any] = running or ended or {}
    began = [moment for one in (last, now) if (moment := _moment(one.get("startedAt")))]
    if not began:
        return None
    if ended is None:
        # A pod that is over while a container of it is said to run: its node has not said more.
        return Life(min(began), over=over, ended=_last(last) if over else None)
    again = policy == "Always" or (policy == "OnFailure" and ended.get("exitCode") != 0)
    return Life(min(began), over=over or not again, ended=_last(ended))


def _last(terminated: Mapping[str, Any]) -> int | None:
    return _moment(terminated.get("finishedAt"))


def _moment(text: object) -> int | None:
    """Milliseconds since 1970; None where it is not said, which can also be written as year 1."""
    if not isinstance(text, str):
        return None
    try:
        moment = to_ms(datetime.fromisoformat(text))
    except ValueError:
        return None
    return moment if moment > 0 else None
