"""On which nodes a flavour's sessions may run: one answer for the pod and for what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from arcetri_spawner.backends.kubernetes.manifest import Draft, JsonObject, child, children, keep
from arcetri_spawner.backends.kubernetes.plan import PodPlan
from arcetri_spawner.catalog.models import Flavor

HOSTNAME: Final = "kubernetes.io/hostname"
"""The label by which a session is tied to a node."""

_NODE_TROUBLE: Final = "node.kubernetes.io/"
_TUNABLE: Final = frozenset({f"{_NODE_TROUBLE}not-ready", f"{_NODE_TROUBLE}unreachable"})
_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Refused:
    """A toleration of the site's that policy does not allow, by its place in the list."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Which nodes will do."""

    labels: Mapping[str, str]
    """What a node must be labelled with."""
    tolerations: tuple[JsonObject, ...]
    """Which taints of a node do not matter, as the API has them."""
    refused: tuple[Refused, ...] = field(default=(), compare=False)
    terms: tuple[JsonObject, ...] = ()
    """Of a node affinity that is required, as the API has them, one of which must match; none: no
    such affinity."""

    @classmethod
    def of(
        cls,
        flavor: Flavor,
        *,
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[JsonObject] = (),
        reserved: Iterable[str] = (),
        terms: Sequence[JsonObject] = (),
    ) -> Placement:
        """Return where a flavour's sessions go.

        Args:
            flavor: The catalog's entry; what it says of a label wins.
            node_selector: What the site's configuration demands of nodes besides.
            tolerations: What the site's configuration tolerates besides.
            reserved: Taints that only flavours which name them may tolerate: ``Rules.taints``.
            terms: Of the node affinity that the site's configuration requires besides.
        """
        own: list[JsonObject] = [
            {"key": key, "operator": "Exists"} for key in dict.fromkeys(flavor.tolerations)
        ]
        barred = frozenset(reserved) - frozenset(flavor.tolerations)
        refused = []
        for index, toleration in enumerate(tolerations):
            if reason := _why_not(toleration, barred):
                refused.append(Refused(index, reason))
            elif toleration not in own:
                own.append(toleration)
        return cls(
            {**(node_selector or {}), **flavor.nodes}, tuple(own), tuple(refused), tuple(terms)
        )

    def fits(
        self, labels: Mapping[str, str], taints: Iterable[Mapping[str, Any]], name: str = ""
    ) -> bool:
        """Whether a session may start on a node with these labels and taints.

        Args:
            labels: The node's.
            taints: The node's.
            name: The node's, which a node affinity can ask for.
        """
        return (
            all(labels.get(key) == value for key, value in self.labels.items())
            and all(
                any(tolerates(toleration, taint) for toleration in self.tolerations)
                for taint in taints
                if taint.get("effect") in _BLOCKING
            )
            and (not self.terms or any(matches(term, labels, name) for term in self.terms))
        )


def matches(term: Mapping[str, Any], labels: Mapping[str, str], name: str = "") -> bool:
    """Whether a node is what a term of a node affinity asks for, by Kubernetes' rules."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(one, labels) for one in expressions) and all(
        _holds(one, {"metadata.name": name}) for one in fields
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = str(expression.get("key")), str(expression.get("operator"))
    values = [str(value) for value in expression.get("values") or ()]
    value = labels.get(key)
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) == (operator == "Exists")
    if operator in ("In", "NotIn"):
        return (value in values) == (operator == "In")
    try:
        there, asked = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return there > asked if operator == "Gt" else operator == "Lt" and there < asked


def required_terms(spec: JsonObject) -> list[JsonObject]:
    """The terms of the node affinity that a pod requires; none where it requires none.

    Raises:
        BadManifest: Something else is there.
    """
    found: Any = spec
    path = "spec"
    for key in ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        path = f"{path}.{key}"
        if key not in found:
            return []
        found = child(found, key, path)
    return children(found, "nodeSelectorTerms", f"{path}.nodeSelectorTerms")


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a toleration makes a taint of no matter, by Kubernetes' rules."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if key and key != taint.get("key"):
        return False
    if operator == "Exists":
        return True
    return (
        bool(key)
        and operator == "Equal"
        and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def demand_placement(draft: Draft, plan: PodPlan) -> None:
    """Tie the pod to the flavour's nodes; what the site demands besides narrows it further."""
    spec = draft.spec
    draft.remove(
        spec, "nodeName", "spec", "It would pass by the scheduler, and so by the flavour's nodes."
    )
    wanted = child(spec, "nodeSelector", "spec.nodeSelector")
    tolerations = children(spec, "tolerations", "spec.tolerations")
    placement = Placement.of(
        plan.flavor,
        node_selector=wanted,
        tolerations=tolerations,
        reserved=plan.rules.taints,
    )
    for refused in placement.refused:
        draft.overrule(f"spec.tolerations[{refused.index}]", refused.reason)
    for key, value in plan.flavor.nodes.items():
        if wanted.get(key, value) != value:
            draft.overrule(
                f"spec.nodeSelector[{key}]", "The flavour says which nodes its sessions run on."
            )
    spec["nodeSelector"] = dict(placement.labels)
    if len(plan.nodes) == 1:
        if spec["nodeSelector"].get(HOSTNAME, plan.nodes[0]) != plan.nodes[0]:
            draft.overrule(
                f"spec.nodeSelector[{HOSTNAME}]", "The session was admitted on another node."
            )
        spec["nodeSelector"][HOSTNAME] = plan.nodes[0]
    elif plan.nodes:
        _only_on(spec, plan.nodes)
    if not spec["nodeSelector"]:
        del spec["nodeSelector"]
    keep(spec, "tolerations", [dict(toleration) for toleration in placement.tolerations])


def _only_on(spec: JsonObject, nodes: Sequence[str]) -> None:
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    affinity = child(spec, "affinity", "spec.affinity")
    required = child(
        child(affinity, "nodeAffinity", "spec.affinity.nodeAffinity"),
        "requiredDuringSchedulingIgnoredDuringExecution",
        path,
    )
    only = {"key": HOSTNAME, "operator": "In", "values": list(nodes)}
    # One term that matches is enough, so that each needs it; and an empty one matches nothing.
    terms = children(required, "nodeSelectorTerms", f"{path}.nodeSelectorTerms") or [{}]
    for term in terms:
        if term or len(terms) == 1:
            found = children(term, "matchExpressions", f"{path}.nodeSelectorTerms.matchExpressions")
            term["matchExpressions"] = [*found, only]
    required["nodeSelectorTerms"] = terms


def _why_not(toleration: Mapping[str, Any], barred: frozenset[str]) -> str:
    key = toleration.get("key") or ""
    if not key:
        return "It would tolerate every taint: nodes in trouble, cordoned ones, other flavours'."
    if key in barred:
        return "The catalog keeps nodes with this taint for flavours that name it."
    if key.startswith(_NODE_TROUBLE) and not (
        key in _TUNABLE and toleration.get("effect") == "NoExecute"
    ):
        return "Nothing starts on a node that is in trouble or cordoned."
    return ""
