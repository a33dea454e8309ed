"""The people and groups of the demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from arcetri_spawner.groups import GroupPath, with_parents


@dataclass(frozen=True)
class DemoUser:
    """A person of the demonstration.

    Attributes:
        name: The user name to log in with.
        password: A published word: the development IAM is reachable from this machine only.
        display_name: Given name and family name.
        groups: Full paths with a leading slash; membership of their parents comes with them.
        can: One sentence on what this person may do, for the banner and the login page.
    """

    name: str
    password: str
    display_name: str
    groups: tuple[GroupPath, ...]
    can: str

    @property
    def memberships(self) -> tuple[GroupPath, ...]:
        """All groups that IAM names them a member of, sorted."""
        return tuple(sorted(with_parents(self.groups)))


CMS: Final = GroupPath("/arcetri/cms")
CMS_LEADS: Final = GroupPath("/arcetri/cms/leads")
VIRGO: Final = GroupPath("/arcetri/virgo")
STUDENTS: Final = GroupPath("/arcetri/students")
ADMINS: Final = GroupPath("/arcetri/admins")

DEMO_GROUPS: Final = (ADMINS, CMS, CMS_LEADS, STUDENTS, VIRGO)

DEMO_USERS: Final = (
    DemoUser(
        "alice",
        "muon",
        "Alice Rossi",
        (CMS,),
        "Works in one group, /arcetri/cms, which is charged for the GPUs she uses.",
    ),
    DemoUser(
        "bruno",
        "merger",
        "Bruno Bianchi",
        (CMS, VIRGO),
        "Works in two groups, and chooses which one is charged.",
    ),
    DemoUser(
        "chiara",
        "higgs",
        "Chiara Conti",
        (CMS_LEADS,),
        "Leads /arcetri/cms, and reads what the group has used.",
    ),
    DemoUser(
        "dario",
        "dome",
        "Dario De Luca",
        (ADMINS,),
        "Administers the platform: sees who holds what, and can stop any session.",
    ),
    DemoUser(
        "elena",
        "comet",
        "Elena Esposito",
        (),
        "Belongs to no group: she is refused, and told why.",
    ),
    DemoUser(
        "fabio",
        "chalk",
        "Fabio Ferrari",
        (STUDENTS,),
        "A student: gets only the small things.",
    ),
)
