"""What ``arcetri up`` prints when it is ready."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arcetri_hub.devidp.demo import DEMO_USERS, DemoUser
from arcetri_hub.up.prepare import Plan


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known once everything answers."""

    plan: Plan
    simulated: Sequence[str]
    """What is simulated, each as ``2 x NVIDIA T4``."""
    adopted: int
    """Sessions that were still running."""
    pid: int

    @property
    def users(self) -> Sequence[DemoUser]:
        """Whom one can log in as; none that we know of with a real IAM."""
        return DEMO_USERS if self.plan.settings.iam.development else ()


def as_json(ready: Ready) -> str:
    """One line for scripts."""
    return json.dumps(
        {
            "url": ready.plan.settings.public_url,
            "users": [
                {"name": user.name, "password": user.password, "groups": list(user.memberships)}
                for user in ready.users
            ],
            "simulated": bool(ready.simulated),
            "pid": ready.pid,
            "agent_metrics": ready.plan.usage.agent_metrics_url,
        }
    )


def as_text(ready: Ready) -> str:
    """The banner for people."""
    plan = ready.plan
    lines = ["", f"  Arcetri is ready:  {plan.settings.public_url}", ""]
    if ready.users:
        lines += ["  Log in as one of these (the names and passwords are public):", ""]
        lines += _users(ready.users)
    else:
        lines += [
            f"  People log in at {plan.settings.iam.issuer}; the client "
            f"{plan.settings.iam.client_id} must be allowed to send them back to",
            f"    {plan.settings.callback_url}",
        ]
    lines.append("")
    if ready.users:
        lines += [
            "  The identity provider is a development one: anyone on this machine can change its",
            "  people and groups, without a password, at",
            f"    {plan.settings.iam.issuer}",
        ]
    if ready.simulated:
        lines.append(f"  Simulated, no real devices: {', '.join(ready.simulated)}.")
    lines += _folders(plan)
    lines += _isolation(plan)
    if ready.adopted:
        lines.append(f"  Still running from before: {_count(ready.adopted, 'session')}.")
    lines += [
        "",
        f"  Catalog:  {plan.settings.profiles}  (edit it: changes count at once)",
        f"  State:    {plan.settings.state_dir}  (logs in logs/, pids in run/)",
        f"  Metrics:  {plan.usage.agent_metrics_url}  (the usage agent's)",
        f"  Stop:     Ctrl-C  ({_ending(plan)})",
        "",
    ]
    return "\n".join(lines)


def _folders(plan: Plan) -> list[str]:
    if not plan.no_mounts:
        return ["  Sessions find their folders where the catalog mounts them."]
    lines = [
        f"  Sessions find their folders below {plan.settings.state_dir}/view, not where the catalog"
        f" mounts them ({plan.no_mounts})."
    ]
    if not plan.settings.accounts:
        lines.append("  What the catalog calls read only is NOT protected from being written.")
    return lines


def _isolation(plan: Plan) -> list[str]:
    if plan.settings.accounts:
        lines = ["  Each user's sessions run as a system account of their own."]
        if plan.no_mounts:
            lines += [
                "    In them the account is a number without a name: whoami and ssh do not work,",
                "    because nothing can be mounted over /etc/passwd.",
            ]
        return lines
    return [
        "  All sessions run as this account: users are NOT isolated from each other, and a",
        "    notebook can get at the platform's own keys, and so at everybody's logins and files.",
        "    Right for yourself and those you trust; as root, --accounts keeps people apart.",
    ]


def _users(users: Iterable[DemoUser]) -> list[str]:
    rows = [("user", "password", "groups", "")]
    rows += [(u.name, u.password, " ".join(u.memberships) or "none", u.can) for u in users]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "    "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        + (f"  {row[3]}" if row[3] else "")
        for row in rows
    ]


def _ending(plan: Plan) -> str:
    if plan.options.keep_sessions:
        return "sessions go on, and the next start adopts them"
    return "ends the sessions too"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
