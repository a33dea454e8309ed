"""The hub as the ledger's second witness on a cluster, and the page that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import yaml

import arcetri_hub
from arcetri_hub import usage
from arcetri_hub.settings import UsageSettings
from tests.cluster import accounting, addresses, hub, images
from tests.cluster.accounting import Site
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.support.platform import until

pytestmark = pytest.mark.cluster

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"
SESSIONS = "witnessed"


def catalog(image: str) -> dict[str, object]:
    """The demonstration's, on one node that has every model, without volumes."""
    entry = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for flavor in entry["flavors"].values():
        flavor.pop("nodes", None)
    entry["environments"] = {"python": {"title": "Python", "image": image}}
    entry["sizes"] = {"small": {"cpu": 0.2, "memory": "1Gi", "shm": "64Mi"}}
    entry.pop("volumes")
    for grants in (entry["everyone"], *entry["groups"].values()):
        grants.pop("volumes", None)
    return dict(entry)


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with accounting.on(cluster, tmp_path_factory.mktemp("accounting"), SESSIONS) as made:
        yield made


@pytest.fixture(scope="module")
def platform(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that tells the site's ledger what it sees, with the token of a pod of its own."""
    folder = tmp_path_factory.mktemp("hub")
    secret = folder / "service"
    secret.write_text(hub.SECRET, encoding="ascii")
    tokens = accounting.stand_in(site.cluster, hub.ACCOUNT, hub.HOME)
    settings = UsageSettings(
        url=f"http://{addresses.NODE}:{site.port}",
        service_token_file=secret,
        witness_token_file=tokens / "ledger" / "token",
        spool=folder / "witness.sqlite",
    )
    image = site.cluster.load(images.MINIMAL)
    try:
        with hub.running(
            site.cluster, folder / "state", SESSIONS, catalog(image), usage=settings
        ) as made:
            url = made.settings.public_url
            site.service = {
                "JUPYTERHUB_SERVICE_NAME": usage.SERVICE,
                "JUPYTERHUB_SERVICE_PREFIX": usage.PREFIX,
                "JUPYTERHUB_BASE_URL": "/",
                "JUPYTERHUB_API_URL": (
                    f"http://{made.settings.hub_ip}:{made.settings.hub_port}/hub/api"
                ),
                "JUPYTERHUB_API_TOKEN": hub.SECRET,
                "JUPYTERHUB_CLIENT_ID": usage.CLIENT_ID,
                "JUPYTERHUB_OAUTH_CALLBACK_URL": usage.CALLBACK,
                "JUPYTERHUB_OAUTH_SCOPES": json.dumps(list(usage.SCOPES)),
                "JUPYTERHUB_PUBLIC_URL": f"{url}{usage.PREFIX}",
                "JUPYTERHUB_PUBLIC_HUB_URL": f"{url}/",
            }
            site.kill("ledger")
            site.start("ledger")
            yield made
    finally:
        stand = ["kubectl", "delete", "pod", hub.ACCOUNT, f"--namespace={hub.HOME}", "--now"]
        site.cluster.run([*stand, "--wait=false", "--ignore-not-found"])


def witnessed(site: Site, session: str) -> tuple[object, ...]:
    """When it began, when it ended, why, whether that was found late, and where it was."""
    rows = site.rows(
        "select started_at, ended_at, end_reason, end_is_estimate, node from usage_witness"
        " where session = ?",
        session,
    )
    return rows[0] if rows else (None,) * 5


def agrees(site: Site, session: str) -> bool:
    """Whether the ledger has compared agent and witness, and found nothing to close or to show."""
    (compared,) = site.rows("select reconciled_at from usage_witness where session = ?", session)
    shown = site.rows(
        "select code, agent_says, witness_says from usage_discrepancy where session = ?", session
    )
    closed = site.rows("select t0, dur_ms from usage_reconciled where session = ?", session)
    assert (shown, closed) == ([], [])
    return compared != (None,)


def test_a_session_is_on_its_users_page_within_half_a_minute_and_both_witnesses_agree(
    site: Site, platform: Hub
) -> None:
    session = str(platform.platform.start_session("alice", flavor="t4", environment="python"))
    with platform.platform.login("alice") as client:

        def shown() -> bool:
            page = client.get(f"{usage.PREFIX}sessions", follow_redirects=True)
            assert page.status_code == 200, (page.url, page.text, site.log("ledger"))
            return str(session) in page.text

        until(shown, "the page has the session", 30)
    site.until(lambda: witnessed(site, session)[0], "the hub has told of the start")
    with platform.platform.api("alice") as api:
        assert api.delete("/users/alice/server").status_code in (202, 204)
    site.final(session)
    site.until(lambda: witnessed(site, session)[1], "the hub has told of the end")
    assert witnessed(site, session)[2:] == ("stopped", 0, addresses.NODE_NAME)
    site.until(lambda: agrees(site, session), "the two are compared")


def test_a_hub_that_was_killed_tells_of_what_began_and_ended_meanwhile(
    site: Site, platform: Hub
) -> None:
    over = str(platform.platform.start_session("alice", flavor="a100-1g", environment="python"))
    taken = str(platform.platform.start_session("bruno", flavor="cpu", environment="python"))
    for session in (over, taken):
        site.until(lambda session=session: site.runs(session), "the agent counts it")
    platform.kill("hub")
    # One ends by itself, and its pod says when; the other's is taken away with all that it says.
    platform.sh(f"session-{over}", "kill -TERM 1 || true")
    gone = ["kubectl", "delete", "pod", f"session-{taken}", f"--namespace={SESSIONS}"]
    site.cluster.run(gone)
    for session in (over, taken):
        site.final(session)
    platform.start("hub")
    for session in (over, taken):
        site.until(
            lambda session=session: witnessed(site, session)[1], "the hub has told of the end"
        )
    assert witnessed(site, over)[3:] == (0, addresses.NODE_NAME)
    assert witnessed(site, taken)[2:] == ("lost", 1, addresses.NODE_NAME)
    # The cluster still knows of the pod that this hub has never seen.
    ((said,),) = platform.platform.rows(
        "select details from arcetri_request where id = ?", UUID(taken).hex
    )
    assert " Killing: " in str(said), said
    for session in (over, taken):
        site.until(lambda session=session: agrees(site, session), "the two are compared")
