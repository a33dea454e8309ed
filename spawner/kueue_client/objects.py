"""The objects of one kind, as a client has them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Generic

from kueue_client import calls
from kueue_client.calls import Listing, O
from kueue_client.steps import Awaiting, Blocking, Steps, operation
from kueue_client.transport import AsyncTransport, Transport
from kueue_client.watching import AsyncWatch, Progress, Watch


class _Objects(Generic[O]):
    def __init__(self, kind: type[O], manager: str) -> None:
        self.kind = kind
        self._manager = manager

    @operation
    def get(self, name: str, namespace: str | None = None) -> Steps[O]:
        """Read an object.

        Raises:
            NotFound: There is none.
            KueueError: It cannot be read.
        """
        return (yield from calls.get(self.kind, name, namespace))

    @operation
    def find(self, name: str, namespace: str | None = None) -> Steps[O | None]:
        """Read an object; None where there is none."""
        return (yield from calls.find(self.kind, name, namespace))

    @operation
    def list(
        self, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Steps[Listing[O]]:
        """Read all objects, however many pages they are.

        Args:
            namespace: Whose; None for those of all namespaces.
            labels: A label selector, such as ``team=cms``.
            fields: A field selector, such as ``metadata.name=one``.
        """
        return (yield from calls.list_all(self.kind, namespace, labels, fields))

    @operation
    def create(self, made: O, *, dry_run: bool = False) -> Steps[O]:
        """Create an object.

        Raises:
            AlreadyExists: There is one of its name.
            Invalid: It is not as it must be.
            WebhookDown: Kueue could not be asked; nothing was created.
            Unreachable: Whether it was created is not known.
        """
        return (yield from calls.create(made, self._manager, dry_run=dry_run))

    @operation
    def apply(
        self, made: O, *, manager: str = "", force: bool = False, dry_run: bool = False
    ) -> Steps[O]:
        """Make an object be so, as far as ``made`` says, by server-side apply.

        Args:
            made: What is wanted; fields that were never set are left to others.
            manager: Who owns these fields; the client's own name where empty.
            force: Take fields over from other owners.
            dry_run: Only say what it would come to.

        Raises:
            Conflict: Somebody else owns one of the fields.
        """
        chosen = manager or self._manager
        return (yield from calls.apply(made, chosen, force=force, dry_run=dry_run))

    @operation
    def patch(
        self,
        name: str,
        namespace: str | None = None,
        *,
        change: Mapping[str, Any],
        dry_run: bool = False,
    ) -> Steps[O]:
        """Change an object by a JSON merge patch.

        With ``{"metadata": {"resourceVersion": ...}}`` in the change, only if nobody else has
        changed it since.
        """
        kind, manager = self.kind, self._manager
        return (yield from calls.patch(kind, name, namespace, change, manager, dry_run=dry_run))

    @operation
    def patch_status(
        self, name: str, namespace: str | None = None, *, change: Mapping[str, Any]
    ) -> Steps[O]:
        """Change an object's status by a JSON merge patch of ``{"status": ...}``.

        A list, such as the conditions, is replaced as a whole.
        """
        kind, manager = self.kind, self._manager
        return (yield from calls.patch(kind, name, namespace, change, manager, part="status"))

    @operation
    def delete(self, name: str, namespace: str | None = None, *, uid: str = "") -> Steps[bool]:
        """Delete an object; False where it is not there.

        Args:
            name: Its name.
            namespace: Its namespace.
            uid: Only where it is still this very one.
        """
        return (yield from calls.delete(self.kind, name, namespace, uid=uid))

    def _progress(
        self,
        namespace: str | None,
        labels: str,
        fields: str,
        start: Listing[O] | None,
        seconds: float | None,
    ) -> Progress[O]:
        deadline = None if seconds is None else time.monotonic() + seconds
        progress = Progress(self.kind, namespace, labels, fields, deadline)
        if start is not None:
            progress.start(start)
        return progress


class Objects(Blocking, _Objects[O]):
    """The objects of one kind; its operations block."""

    def __init__(self, kind: type[O], manager: str, transport: Transport) -> None:
        """Made by a ``Kueue``."""
        super().__init__(kind, manager)
        self._doer: Transport = transport

    def watch(
        self,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        start: Listing[O] | None = None,
        seconds: float | None = None,
    ) -> Watch[O]:
        """What happens to the objects, from now on and whatever happens to the connection.

        Args:
            namespace: Whose; None for those of all namespaces.
            labels: A label selector.
            fields: A field selector.
            start: Go on from this listing, instead of saying of each object that it is there.
            seconds: How long; for ever where None.
        """
        return Watch(self._progress(namespace, labels, fields, start, seconds), self._doer)


class AsyncObjects(Awaiting, _Objects[O]):
    """The objects of one kind; its operations are awaited."""

    def __init__(self, kind: type[O], manager: str, transport: AsyncTransport) -> None:
        """Made by an ``AsyncKueue``."""
        super().__init__(kind, manager)
        self._doer: AsyncTransport = transport

    def watch(
        self,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        start: Listing[O] | None = None,
        seconds: float | None = None,
    ) -> AsyncWatch[O]:
        """What happens to the objects; as that of ``Objects``."""
        return AsyncWatch(self._progress(namespace, labels, fields, start, seconds), self._doer)
