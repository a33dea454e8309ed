"""How Kueue itself is set up, held against what sessions need of it. Pure.

docs/explanation/queues.md says why each of these matters. Fields and what they mean where nothing
is said: Kueue's apis/config, v1beta2 and the v1beta1 that it still reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import yaml

from arcetri_spawner.backends.kubernetes.placement import matches
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.catalog.quantities import show_duration
from arcetri_spawner.policy.terms import Terms
from arcetri_spawner.queues.findings import Finding

ABOUT: Final = "Kueue's configuration"
CONFIG_MAP: Final = "kueue-manager-config"
KEY: Final = "controller_manager_config.yaml"
"""Where the chart and the manifests that Kueue publishes have it."""
_READY: Final = timedelta(minutes=30)
_READY_BEFORE: Final = timedelta(minutes=5)
"""How long Kueue waits for pods where nothing is said, and in v1beta1."""
_PODS: Final = ("pod", "deployment", "statefulset", "leaderworkerset.x-k8s.io/leaderworkerset")
"""Frameworks for which Kueue looks at pods; it takes the later ones with the first alone."""
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


@dataclass(frozen=True, slots=True)
class Needs:
    """What an installation needs.

    Attributes:
        namespace: Where its sessions are.
        labels: That namespace's; None where they are not known.
        hold: How long an admitted request is kept before it starts.
        start: How long a start may take then.
        lends: Whether any group may have what is another's.
    """

    namespace: str
    labels: Mapping[str, str] | None
    hold: timedelta
    start: timedelta
    lends: bool

    @classmethod
    def of(
        cls, catalog: Catalog, start: timedelta, namespace: str, labels: Mapping[str, str] | None
    ) -> Needs:
        """What a catalog makes necessary."""
        terms = [Terms.of(catalog, flavor) for flavor in catalog.flavors]
        lends = any(one.borrowed or (one.counted and len(one.unbounded) > 1) for one in terms)
        return cls(namespace, labels, catalog.defaults.hold, start, lends)


@dataclass(frozen=True, slots=True)
class Configured:
    """What Kueue is told, as far as sessions depend on it.

    Attributes:
        frameworks: Of what it manages the pods.
        selector: Of which namespaces, as labels say.
        fair: Whether who has borrowed less comes first.
        ready: In what time one who is admitted has to run; None where that is no matter.
        blocks: Whether nobody else is admitted meanwhile.
    """

    frameworks: frozenset[str]
    selector: Mapping[str, Any]
    fair: bool
    ready: timedelta | None
    blocks: bool

    @classmethod
    def of(cls, text: str, namespace: str) -> Configured:
        """Read it.

        Args:
            text: The file that Kueue's manager reads.
            namespace: Where Kueue is.

        Raises:
            ValueError: It is not as Kueue reads it.
        """
        try:
            said = yaml.safe_load(text)
            if not isinstance(said, dict):
                raise ValueError("it is no object")
            before = str(said.get("apiVersion", "")).endswith("/v1beta1")
            integrations, fair = said.get("integrations") or {}, said.get("fairSharing")
            gates = said.get("featureGates") or {}
            ready = said.get("waitForPodsReady") or {}
            on = bool(ready.get("enable")) if before else not gates.get("DisableWaitForPodsReady")
            limit = _duration(ready.get("timeout")) or (_READY_BEFORE if before else _READY)
            selector = said.get("managedJobsNamespaceSelector")
            return cls(
                frozenset(integrations.get("frameworks") or ["batch/job"]),
                _everywhere_but(namespace) if selector is None else selector,
                fair is not None and (not before or bool(fair.get("enable"))),
                limit if on else None,
                on and bool(ready.get("blockAdmission", before)),
            )
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise ValueError("it is not written as Kueue reads it") from error

    def findings(self, needs: Needs) -> Iterator[Finding]:
        """Say of each part whether it will do."""
        if needs.labels is None:
            yield _fine(
                "namespace_unknown",
                f"Whether it looks at the pods and jobs of {needs.namespace} is not known: that"
                " namespace's labels cannot be read.",
            )
        else:
            there = self._selects(needs.labels)
            yield self._pods(needs, there)
            yield self._jobs(needs, there)
        yield self._sharing(needs)
        yield self._starts(needs)
        if self.blocks:
            yield _wrong(
                "ready_blocks",
                "It admits nobody while one who was admitted has yet to start"
                " (waitForPodsReady.blockAdmission): a start that takes long holds up every group.",
                "Set waitForPodsReady.blockAdmission to false.",
            )

    def _selects(self, labels: Mapping[str, str]) -> bool:
        named = self.selector.get("matchLabels") or {}
        asked = self.selector.get("matchExpressions") or []
        same = all(labels.get(key) == value for key, value in named.items())
        return same and (not asked or matches({"matchExpressions": asked}, labels))

    def _pods(self, needs: Needs, there: bool) -> Finding:
        found = [one for one in _PODS if one in self.frameworks]
        if not found or not there:
            return _fine("pods_left_alone", "It leaves the sessions' pods alone.")
        return _wrong(
            "pods_managed",
            f"It looks at every pod of {needs.namespace} (integrations.frameworks has"
            f" {', '.join(found)}): while it does not answer, no session can start.",
            f"Take {', '.join(found)} out of integrations.frameworks, or have"
            f" managedJobsNamespaceSelector leave {needs.namespace} out.",
        )

    def _jobs(self, needs: Needs, there: bool) -> Finding:
        where = needs.namespace
        if there and "batch/job" in self.frameworks:
            return _fine("jobs_managed", f"Batch jobs in {where} can wait in its queues.")
        missing = "managedJobsNamespaceSelector" if not there else "integrations.frameworks"
        sentence = f"It manages no batch jobs in {where}: {missing} leaves them out."
        return _fine("jobs_left_alone", sentence)

    def _sharing(self, needs: Needs) -> Finding:
        if self.fair:
            return _fine("fair_sharing", "Of what is lent, who has less of it comes first.")
        if not needs.lends:
            sentence = "It has no fair sharing, and by the catalog nobody has what is another's."
            return _fine("fair_sharing_idle", sentence)
        return _wrong(
            "fair_sharing_off",
            "It has no fair sharing: of what groups lend each other, who came first keeps it,"
            " however much of it they have.",
            "Give it fairSharing, with preemptionStrategies: [LessThanOrEqualToFinalShare,"
            " LessThanInitialShare].",
        )

    def _starts(self, needs: Needs) -> Finding:
        need = needs.hold + needs.start
        kept = f"hold and start_timeout are {show_duration(need)} together"
        if self.ready is None:
            return _fine("ready_no_matter", "It never wants a place back because a start is slow.")
        said = show_duration(self.ready)
        if self.ready >= need:
            return _fine("ready_in_time", f"It gives a start {said}; {kept}.")
        return _wrong(
            "ready_too_soon",
            f"It wants back what has not started after {said} (waitForPodsReady.timeout), and"
            f" {kept}: requests lose the places that they may still take.",
            f"Set waitForPodsReady.timeout to {show_duration(need)} or more, or lower"
            " defaults.hold in profiles.yaml.",
        )


def unread(why: str, namespace: str) -> Finding:
    """Say that Kueue's configuration was not looked at.

    Args:
        why: As a sentence.
        namespace: Where Kueue should be.
    """
    where = f"the ConfigMap {CONFIG_MAP} of {namespace}"
    return _fine("configuration_unread", f"Not looked at, since {where} cannot be read: {why}")


def _fine(code: str, sentence: str) -> Finding:
    return Finding(ABOUT, code, False, sentence)


def _wrong(code: str, sentence: str, remedy: str) -> Finding:
    return Finding(ABOUT, code, True, sentence, remedy)


def _everywhere_but(namespace: str) -> Mapping[str, Any]:
    """The namespaces that Kueue looks at where nothing is said."""
    key, values = "kubernetes.io/metadata.name", ["kube-system", namespace]
    return {"matchExpressions": [{"key": key, "operator": "NotIn", "values": values}]}


def _duration(text: object) -> timedelta | None:
    """A duration as Go writes it, such as ``1h30m``; None where there is none.

    Raises:
        ValueError: It is none.
    """
    if text is None:
        return None
    whole = str(text)
    parts = _PART.findall(whole)
    if whole != "0" and "".join(f"{number}{unit}" for number, unit in parts) != whole:
        raise ValueError(f"{whole} is no duration")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=seconds)
