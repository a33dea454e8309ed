"""What the hub asks of the provisioner, and what it is told. Nothing in it is a path to follow.

A folder is named by its claim and the single names below it; each is checked here, and looked up
one after the other without following links (``folders.making``).
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from arcetri_spawner.catalog.patterns import CLAIM, NAME
from arcetri_spawner.policy.names import is_account_name

AUDIENCE: Final = "arcetri-provisioner"
"""For whom a caller's token must be."""
FOLDERS: Final = "/api/v1/folders"
SPACE: Final = "/api/v1/space"
HEALTH: Final = "/health"

LOWEST_ID: Final = 1000
HIGHEST_ID: Final = 2**31 - 2
_NOBODY: Final = (65534, 65535)
_LONGEST_NAME: Final = 255
_MOST_FOLDERS: Final = 200


def _component(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError("is no name of a single folder")
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        raise ValueError(f"has more than {_LONGEST_NAME} bytes")
    return name


def _account(name: str) -> str:
    if not is_account_name(name):
        raise ValueError("is no name of an account")
    return name


def _persons(number: int) -> int:
    if number in _NOBODY:
        raise ValueError("is nobody's number")
    return number


Component = Annotated[str, AfterValidator(_component)]
AccountName = Annotated[str, AfterValidator(_account)]
PersonsId = Annotated[int, Field(ge=LOWEST_ID, le=HIGHEST_ID), AfterValidator(_persons)]
VolumeName = Annotated[str, StringConstraints(pattern=NAME)]
Claim = Annotated[str, StringConstraints(pattern=CLAIM, max_length=253)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Person(_Model):
    """For whom a session is to start."""

    username: AccountName
    uid: PersonsId
    gid: PersonsId
    """The primary group, which is nobody else's."""


class Members(_Model):
    """A group whose members may use a shared folder."""

    gid: PersonsId
    write: bool
    """Whether they may write in it, or only read."""


class Place(_Model):
    """Where a folder is."""

    volume: VolumeName
    """What the catalog calls it: only for sentences and answers."""
    claim: Claim
    path: tuple[Component, ...] = Field(max_length=32)
    """The names below the claim's root; none means the root, which is the operator's and stays as
    it is."""


class Wanted(Place):
    """A folder that a session needs."""

    groups: tuple[Members, ...] = Field(default=(), max_length=100)
    """The groups of a shared folder, the one that owns it first; none for the person's own."""

    @property
    def private(self) -> bool:
        """Whether it is the person's own."""
        return not self.groups

    @property
    def shown(self) -> str:
        """The folder for sentences."""
        return "/".join((self.claim, *self.path))


class FoldersRequest(_Model):
    """Make these folders, where they are missing."""

    person: Person
    folders: tuple[Wanted, ...] = Field(max_length=_MOST_FOLDERS)

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        names = [folder.volume for folder in self.folders]
        if len(names) != len(set(names)):
            raise ValueError("a volume is named twice")
        return self


class SpaceRequest(_Model):
    """Say how much room these folders have."""

    folders: tuple[Place, ...] = Field(max_length=_MOST_FOLDERS)


class _Answer(BaseModel):
    # A newer provisioner may say more.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Room(_Answer):
    """What the file system tells of a folder."""

    size: int
    """Bytes in all."""
    free: int
    """Bytes that people may still fill."""
    own: bool
    """True where the folder has a bound of its own (a quota), False where it shares its claim."""


class FolderReport(_Answer):
    """What became of a folder."""

    volume: str
    made: bool = False
    """True where it was missing, and is empty now."""
    room: Room | None = None
    """None where nothing is known."""


class Report(_Answer):
    """The answer to both requests, in the order asked."""

    folders: tuple[FolderReport, ...]


class Refusal(_Answer):
    """The answer when something cannot be done."""

    code: str
    message: str
    """One sentence, for the person who starts a session."""
    remedy: str = ""
    details: str = ""
    """What the system said, for the operator."""
