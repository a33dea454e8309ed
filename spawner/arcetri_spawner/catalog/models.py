"""The models of profiles.yaml: its whole vocabulary, strict and immutable.

The models check each field alone. What needs two fields at once (dangling names, template
variables, quotas against the farm) is checked in ``arcetri_spawner.catalog.references``.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from arcetri_spawner.catalog.fields import (
    Bytes,
    ClaimName,
    Cores,
    Day,
    DeviceShare,
    Duration,
    GroupField,
    IdRange,
    ImageName,
    Interpreter,
    LabelKey,
    LabelValue,
    Line,
    MountPath,
    Name,
    RelativePath,
    ResourceName,
    Text,
    TimeZone,
    Title,
    Until,
    Version,
)
from arcetri_spawner.groups import EVERYONE, GroupPath

FlavorType = Literal["gpu", "fpga", "cpu"]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the keys that a file has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


class Site(_Model):
    """Who runs the platform."""

    name: Title = "Arcetri"
    """What pages call the platform."""
    timezone: TimeZone = "UTC"
    """Where dates of the catalog and of reports begin."""
    admins: tuple[GroupField, ...] = ()
    """Groups whose members administer the platform."""
    members: tuple[GroupField, ...] = ()
    """Groups whose members are allowed in, besides those listed under ``groups``."""


class Defaults(_Model):
    """Times that hold for every session."""

    idle: Duration
    """A session without activity ends after this; a busy kernel is activity."""
    lifetime: Duration
    """The longest a session may run."""
    hold: Duration
    """How long an admitted request or an unvisited start is kept."""
    grace: Duration
    """The warning before an end that the user did not ask for."""
    stop: Duration
    """How long a process may take to exit before it is killed."""


class Ids(_Model):
    """Numeric ids that the platform allocates where IAM gives none."""

    users: IdRange
    """For people whom IAM gives no uid."""
    groups: IdRange
    """For groups that IAM gives no gid."""


class Limits(_Model):
    """What one user may hold or ask for at the same time; beyond it one is refused."""

    sessions: int = Field(default=2, ge=1, le=1000)
    """Sessions that run or start."""
    requests: int = Field(default=3, ge=1, le=1000)
    """Requests of all kinds, from asking to the end of the session."""


class Everyone(_Model):
    """What all who are allowed in are granted."""

    flavors: tuple[Name, ...] = ()
    """Flavours, charged to nobody's group."""
    volumes: tuple[Name, ...] = ()
    """Volumes that every session sees."""


class Maintenance(_Model):
    """A flavour that cannot be started for a while."""

    from_: Until | None = Field(default=None, alias="from")
    """When it begins, written as ``until`` is: before that sessions start, and then what still runs
    ends, warned by ``grace``. Absent means now, and that what runs goes on."""
    until: Until | None = None
    """A date means until that day begins in the site's time zone; absent means until removed."""
    message: Text = ""
    """What users are told."""


class Flavor(_Model):
    """An accelerator shape on offer: whole device, slice, FPGA, or none."""

    title: Title
    """What the card says."""
    description: Text = ""
    """One or two sentences for the card."""
    type: FlavorType = "cpu"
    """Given or derived: ``gpu`` when a resource is named, else ``cpu``."""
    memory: Bytes | None = None
    """Memory of the device, for the card."""
    resource: ResourceName | None = None
    """Kubernetes' extended resource, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb."""
    share: DeviceShare = Fraction(1)
    """Share of one device."""
    nodes: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Node labels required; locally ``nvidia.com/gpu.product`` is compared with NVML's name."""
    tolerations: tuple[LabelKey, ...] = ()
    """Keys of node taints that sessions of this flavour tolerate."""
    maintenance: Maintenance | None = None
    """Set while it cannot be started."""

    @model_validator(mode="before")
    @classmethod
    def _derive_type(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("resource") is not None:
            return {"type": "gpu"} | data
        return data


class Size(_Model):
    """Cores and memory of a session."""

    title: Line = ""
    """What the choice says; without one, its name."""
    cpu: Cores
    """Cores."""
    memory: Bytes
    """Memory of the session."""
    shm: Bytes | None = None
    """Part of the memory that /dev/shm may use."""
    flavors: tuple[Name, ...] | None = None
    """Flavours it goes with; absent means all."""


class News(_Model):
    """What is new in an environment."""

    since: Day
    """From this day on, in the site's time zone, pages show it; for 30 days."""
    message: Text = ""
    """What users are told."""


class Environment(_Model):
    """The software of a session."""

    title: Title
    """What the choice says."""
    description: Text = ""
    """One or two sentences for the choice."""
    contents: Annotated[tuple[Title, ...], Field(max_length=10)] = ()
    """What is in it, with versions, such as PyTorch 2.15; for the choice."""
    news: News | None = None
    """What has changed lately."""
    image: ImageName | None = None
    """Container image that serves it on Kubernetes."""
    local: Interpreter | None = None
    """Interpreter that serves it without Kubernetes: ``default``, or an absolute path."""
    flavors: tuple[Name, ...] | None = None
    """Flavours it goes with; absent means all."""


class Scratch(_Model):
    """Space of one session's own, empty at its start and gone at its end."""

    size: Bytes
    """How much it holds. On Kubernetes a session that fills more is ended, or cannot write more,
    by its storage class; locally nothing bounds it."""
    storage_class: ClaimName | None = None
    """The storage class that a volume is made from for each session, such as one of local NVMe
    disks; absent means a folder on the node's own disk."""
    fsgroup: bool = False
    """True has the node give the volume to the session's group, for a storage class whose volumes
    begin as root's. Only where the claims of other volumes keep their owners all the same."""


class Volume(_Model):
    """A folder that sessions see."""

    title: Line = ""
    """What pages call it; without one, its name."""
    mount: MountPath
    """Absolute path in the session; may use {username}."""
    claim: ClaimName | None = None
    """The storage it lies on; locally a folder of the state folder. Either this or ``scratch``."""
    scratch: Scratch | None = None
    """In place of a claim: space of each session's own, gone at its end."""
    path: RelativePath = ""
    """Sub-folder of the claim; may use {username}."""
    mode: Literal["rw", "ro"] = "rw"
    """``ro`` for what sessions may only read."""
    quota: Bytes | None = None
    """Space that one user may fill, where the storage enforces it."""


class GroupFlavor(_Model):
    """What a group is entitled to of one flavour."""

    quota: int | None = Field(default=None, ge=0, le=100_000)
    """Sessions of the group at the same time; beyond it one waits. Absent: capacity alone
    bounds it."""
    borrow: int = Field(default=0, ge=0, le=100_000)
    """How many more may be borrowed from idle quota of others."""
    limit: int | None = Field(default=None, ge=1, le=1000)
    """Sessions of one user at the same time; beyond it one is refused."""


class Group(_Model):
    """What members of one IAM group are granted."""

    title: Line = ""
    """What pages call it; without one, its path."""
    leads: tuple[GroupField, ...] = ()
    """Groups whose members read this group's usage."""
    subgroups: bool = False
    """True lets leads read the usage of sub-groups too."""
    flavors: dict[Name, GroupFlavor] = Field(default_factory=dict)
    """What it is entitled to, by flavour."""
    volumes: tuple[Name, ...] = ()
    """Volumes that sessions of its members see."""


class Local(_Model):
    """What holds only without Kubernetes."""

    simulate: dict[Name, Annotated[int, Field(ge=0, le=1024)]] = Field(default_factory=dict)
    """Devices to simulate where NVML finds none, by flavour."""
    cpu_sessions: int = Field(default=16, ge=0, le=10_000)
    """How many sessions without accelerator may run at the same time."""


class Catalog(_Model):
    """profiles.yaml, valid as a whole."""

    version: Version
    """The version of this format: 1."""
    site: Site = Site()
    """Who runs the platform, and who is let in."""
    defaults: Defaults
    """Times that hold for every session."""
    ids: Ids
    """Numeric ids that the platform allocates."""
    limits: Limits = Limits()
    """What one user may hold or ask for at the same time."""
    everyone: Everyone = Everyone()
    """What all who are allowed in are granted."""
    flavors: dict[Name, Flavor]
    """What is on offer, by name."""
    sizes: dict[Name, Size]
    """Cores and memory to choose from, by name."""
    environments: dict[Name, Environment]
    """Software to choose from, by name."""
    volumes: dict[Name, Volume] = Field(default_factory=dict)
    """Folders that sessions can see, by name."""
    groups: dict[GroupField, Group] = Field(default_factory=dict)
    """What members of each IAM group are granted, by full path."""
    local: Local = Local()
    """What holds only without Kubernetes."""

    def allowed_groups(self) -> frozenset[GroupPath]:
        """Groups whose members may log in."""
        return frozenset(self.groups) | frozenset(self.site.members) | frozenset(self.site.admins)

    def local_environments(self) -> frozenset[str]:
        """Environments that can be started on one machine, without Kubernetes."""
        return frozenset(name for name, entry in self.environments.items() if entry.local)

    def group_flavor(self, group: GroupPath, flavor: str) -> GroupFlavor | None:
        """What ``group`` is entitled to of ``flavor``, or None when it grants it not."""
        entry = self.groups.get(group)
        return entry.flavors.get(flavor) if entry else None

    def granted_to(self, group: GroupPath, flavor: str) -> GroupFlavor | None:
        """The same for any group, also for ``EVERYONE``, which has no bounds of its own."""
        if group == EVERYONE:
            return GroupFlavor() if flavor in self.everyone.flavors else None
        return self.group_flavor(group, flavor)


class LoadedCatalog(BaseModel):
    """A catalog together with where it came from."""

    model_config = ConfigDict(frozen=True)

    catalog: Catalog
    digest: str
    """SHA-256 of the file's bytes, in hexadecimal; frozen in every grant."""
    path: str
    loaded_at: datetime
