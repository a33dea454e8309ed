"""What a pod is made from besides the site's configuration: decided before, and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from arcetri_spawner.backends.kubernetes import names
from arcetri_spawner.catalog.models import Catalog, Flavor
from arcetri_spawner.policy.model import Grant


@dataclass(frozen=True, slots=True)
class Rules:
    """What the catalog and the cluster say of every pod, whoever starts it.

    Make it with ``Rules.of``, once for each catalog.
    """

    namespace: str
    """Where sessions run."""
    instance: str
    """Which platform this is, a label value; sessions of another one are not touched."""
    accelerators: frozenset[str]
    """Every extended resource that a flavour names."""
    taints: frozenset[str]
    """Every taint that a flavour tolerates: only flavours that name it may go there."""
    claims: frozenset[str]
    """Every claim that a volume of the catalog lies on."""
    strict_groups: bool = False
    """Whether every node can keep an image's own /etc/group from giving its user further groups
    (``status.features.supplementalGroupsPolicy`` of the nodes): the operator says so."""

    @classmethod
    def of(
        cls, catalog: Catalog, *, namespace: str, instance: str, strict_groups: bool = False
    ) -> Rules:
        """Return the rules of a catalog."""
        flavors = catalog.flavors.values()
        return cls(
            namespace=namespace,
            instance=instance,
            accelerators=frozenset(flavor.resource for flavor in flavors if flavor.resource),
            taints=frozenset(key for flavor in flavors for key in flavor.tolerations),
            claims=frozenset(one.claim for one in catalog.volumes.values() if one.claim),
            strict_groups=strict_groups,
        )

    def is_accelerator(self, resource: str) -> bool:
        """Whether a resource is an accelerator: the catalog names it, or another of its vendor's.

        A vendor's devices have several names (whole, slice, shared); a site cannot hand one out
        beside the catalog by a name that the catalog does not use.
        """
        vendor, slash, _ = resource.partition("/")
        return bool(slash) and any(name.startswith(f"{vendor}/") for name in self.accelerators)


@dataclass(frozen=True, slots=True)
class Person:
    """Who a session runs as, in the store's numbers.

    Raises:
        ValueError: An id is one of the system's.
    """

    uid: int
    gid: int
    """The primary group."""
    gids: Mapping[str, int] = field(default_factory=dict)
    """The groups whose folders the person may use, by group path."""
    home: str = ""
    """Where the session's home is; empty means ``/home/{username}``."""

    def __post_init__(self) -> None:
        for number in (self.uid, self.gid, *self.gids.values()):
            if not 0 < number < 2**31:
                raise ValueError(f"{number} cannot be the id of a person or of their group")


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One session, decided."""

    grant: Grant
    flavor: Flavor
    """The granted flavour's entry in the catalog of the grant."""
    person: Person
    rules: Rules
    nodes: tuple[str, ...] = ()
    """Values of the label ``kubernetes.io/hostname`` of the only nodes that will do: the one that
    the ticket was admitted on, or those that ``Stock.rooms`` names; empty for any."""
    certificates: str | None = None
    """The Secret of this very session's TLS certificates, where JupyterHub uses internal TLS."""

    @property
    def name(self) -> str:
        """What the pod is called."""
        return names.pod_name(self.grant.request_id)

    @property
    def secret_name(self) -> str:
        """What the Secret with the session's own token is called."""
        return names.pod_name(self.grant.request_id)

    @property
    def home(self) -> str:
        """Where the session's home is."""
        return self.person.home or f"/home/{self.grant.username}"
