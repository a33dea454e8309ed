"""What the hub keeps of a login: the shape of JupyterHub's ``auth_state``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Identity, Standing

KEY = "arcetri"
_TOKENS = ("refresh_token", "access_token")


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """A person's last login, and what IAM has said of them since.

    ``dump`` puts the tokens beside, not into, the part under ``arcetri``: what reads that part
    never holds a token.
    """

    account_id: str
    issuer: str
    """As ``discovery.issuer_key`` spells it."""
    sub: str
    label: str
    display_name: str
    groups: tuple[GroupPath, ...]
    standing: Standing
    checked_at: datetime
    suffixed: bool = False
    """The name they would have had is somebody else's."""
    uid: int | None = None
    gids: Mapping[GroupPath, int] | None = None
    refresh_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    """Kept only where there is no refresh token: a refresh kills it anyway."""

    def identity(self, name: str, standing: Standing | None = None) -> Identity:
        """Return the person as policy sees them."""
        return Identity(
            account_id=self.account_id,
            name=name,
            groups=frozenset(self.groups),
            standing=standing or self.standing,
            checked_at=self.checked_at,
            display_name=self.display_name,
            was_admitted=self.standing is Standing.ADMITTED,
        )

    def dump(self) -> dict[str, Any]:
        """Return it as ``auth_state``, which JupyterHub encrypts."""
        data = asdict(self)
        tokens = {name: data.pop(name) for name in _TOKENS}
        data["checked_at"] = self.checked_at.isoformat()
        data["standing"] = self.standing.value
        data["groups"] = sorted(self.groups)
        return {KEY: data, **tokens}

    @classmethod
    def load(cls, auth_state: object) -> Self | None:
        """Read it back; None when there is none or something else wrote it."""
        if not isinstance(auth_state, Mapping) or not isinstance(auth_state.get(KEY), Mapping):
            return None
        data = {**auth_state[KEY], **{name: auth_state.get(name) for name in _TOKENS}}
        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError:
            return None
