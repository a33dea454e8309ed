from __future__ import annotations

import gc
from datetime import date
from fractions import Fraction
from typing import Any

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.policy import explain, offers
from arcetri_spawner.policy import index as index_module
from arcetri_spawner.policy.explain import render
from arcetri_spawner.policy.index import index_of
from arcetri_spawner.policy.model import Inventory, LiveSession, Offer, Offers
from tests.support.builders import (
    ASTRO,
    CMS,
    GIB,
    NOW,
    catalog,
    identity,
    inventory,
    live_session,
    section,
)


def _offers(
    *groups: str, have: Inventory | None = None, sessions: tuple[LiveSession, ...] = ()
) -> Offers:
    return offers(catalog(), identity(*groups), have or inventory(), sessions, NOW)


def _offer(flavor: str, result: Offers) -> Offer:
    return next(offer for offer in result.offers if offer.flavor == flavor)


def test_the_flavours_of_ones_groups_in_the_catalogs_order() -> None:
    assert [o.flavor for o in _offers(CMS, ASTRO).offers] == ["t4", "rtx", "a100-1g", "cpu"]
    assert [o.flavor for o in _offers(ASTRO).offers] == ["t4", "a100-1g", "cpu"]
    assert _offers("/elsewhere").offers == ()


def test_a_card_has_what_the_page_shows() -> None:
    card = _offer("a100-1g", _offers(ASTRO, have=inventory({"a100-1g": (3, 7)})))
    assert (card.title, card.type, card.memory) == ("A100 slice", "gpu", 5 * GIB)
    assert card.share == Fraction(1, 7)
    assert (card.total, card.startable) == (7, 2)
    assert card.environments == ("python", "torch")
    assert card.sizes == ("small",)
    (group,) = card.groups
    assert (group.group, group.title, group.quota, group.in_use) == (ASTRO, ASTRO, 4, 0)


def test_use_and_mine_are_counted_for_each_group() -> None:
    sessions = (
        live_session("t4", CMS, name="alice"),
        live_session("t4", CMS, name="bob"),
        live_session("t4", ASTRO, name="bob"),
        live_session("t4", ASTRO, name="carol", waiting=True),
    )
    card = _offer("t4", _offers(CMS, ASTRO, sessions=sessions))
    cms, astro = card.groups
    assert (cms.title, cms.in_use, cms.mine, cms.startable) == ("CMS", 2, 1, 0)
    assert (astro.in_use, astro.mine, astro.startable) == (1, 0, 1)
    assert [reason.code for reason in cms.reasons] == ["busy_quota"]
    assert card.startable == 1
    assert card.reasons == ()


def test_the_alternative_is_the_most_alike_that_would_start_now() -> None:
    everything = inventory({"t4": (0, 8), "rtx": 5, "a100-1g": 7, "cpu": 16})
    assert _offer("t4", _offers(CMS, ASTRO, have=everything)).alternative == "rtx"
    no_rtx = inventory({"t4": (0, 8), "rtx": (0, 5), "a100-1g": 7, "cpu": 16})
    assert _offer("t4", _offers(CMS, ASTRO, have=no_rtx)).alternative == "a100-1g"
    only_cpu = inventory({"t4": (0, 8), "rtx": (0, 5), "a100-1g": (0, 7), "cpu": 16})
    assert _offer("t4", _offers(CMS, ASTRO, have=only_cpu)).alternative == "cpu"
    nothing = inventory({"t4": (0, 8)})
    assert _offer("t4", _offers(CMS, ASTRO, have=nothing)).alternative is None


def test_everyones_flavour_names_its_grantor() -> None:
    (group,) = _offer("cpu", _offers(CMS)).groups
    assert (group.group, group.title, group.quota) == (EVERYONE, "Everyone", None)


def test_a_running_server_refuses_every_card() -> None:
    result = _offers(CMS, sessions=(live_session(server_name=""),))
    assert [reason.code for reason in result.refusals] == ["already_running"]
    assert all(offer.startable == 0 and offer.reasons for offer in result.offers)


def test_explain_says_why_not_the_rest() -> None:
    result = explain(catalog(), ["/lab/cms"], now=NOW)
    (missing,) = result.not_offered
    assert missing.flavor == "a100-1g"
    assert missing.reason.code == "flavor_not_granted"
    assert "/lab/astro" in missing.reason.remedy
    assert "profiles.yaml" in missing.reason.remedy


def test_explain_says_when_no_group_grants_a_flavour() -> None:
    of = catalog(flavors=section("flavors", new={"title": "New"}))
    missing = {e.flavor: e.reason for e in explain(of, [CMS], now=NOW).not_offered}
    assert missing["new"].remedy.startswith("No group grants it yet")


def test_explain_to_somebody_not_allowed_says_that_for_everyones_flavours() -> None:
    result = explain(catalog(), ["/elsewhere"], now=NOW)
    codes = {entry.flavor: entry.reason.code for entry in result.not_offered}
    assert codes == {
        "t4": "flavor_not_granted",
        "rtx": "flavor_not_granted",
        "a100-1g": "flavor_not_granted",
        "cpu": "not_allowed",
    }


def test_explain_without_a_farm_looks_at_grants_only() -> None:
    result = explain(catalog(), ["/lab/cms"], now=NOW)
    assert all(offer.startable for offer in result.offers)


def test_the_rendering_is_for_people() -> None:
    base = section("flavors")
    maintained = {**base["rtx"], "maintenance": {"until": date(2026, 12, 1)}}
    of = catalog(flavors={**base, "rtx": maintained})
    assert render(explain(of, ["/lab/cms"], now=NOW), of) == (
        "Offered:\n"
        "  t4: NVIDIA T4\n"
        "    charged to /lab/cms: quota 2, 0 in use\n"
        "    environments: python, torch\n"
        "    sizes: small, large\n"
        "  cpu: No accelerator\n"
        "    charged to everyone: no quota\n"
        "    environments: python\n"
        "    sizes: small\n"
        "\n"
        "Granted, but refused:\n"
        "  rtx: NVIDIA RTX 5000\n"
        "    charged to /lab/cms: no quota, at most 1 a user\n"
        "    environments: python, torch\n"
        "    sizes: small, large\n"
        "    refused: [maintenance] NVIDIA RTX 5000 is under maintenance until 1 December 2026."
        ' Choose "NVIDIA T4" instead: it would start now. Start it after 1 December 2026.\n'
        "\n"
        "Not offered:\n"
        '  a100-1g: [flavor_not_granted] None of your groups grants a flavour "a100-1g".'
        " Join a group that grants it, /lab/astro; or an admin can list a100-1g in the flavors of"
        " one of your groups in profiles.yaml.\n"
    )
    assert render(explain(of, [], now=NOW), of).startswith("Every start is refused: [not_allowed]")


def test_an_index_lives_as_long_as_its_catalog() -> None:
    one = catalog()
    assert index_of(one) is index_of(one)
    assert index_of(one) is not index_of(catalog())
    gc.collect()
    before = len(index_module._indexes)
    del one
    gc.collect()
    assert len(index_module._indexes) == before - 1


def _only(**environments: dict[str, Any]) -> Catalog:
    return catalog(
        environments={
            name: {"title": name.title(), **entry} for name, entry in environments.items()
        }
    )


def test_what_no_environment_here_runs_is_no_offer() -> None:
    of = _only(python={"local": "default", "flavors": ("cpu",)}, torch={"image": "a/b:1"})
    have = inventory(environments=["python"])
    text = render(explain(of, [CMS], now=NOW, inventory=have), of, have)
    offered, refused = text.split("Granted, but refused:")
    assert "  cpu: " in offered
    assert "    environments: python; not installed here: torch\n" in offered
    assert "  t4: " not in offered
    assert "    environments: none; not installed here: torch\n" in refused
    assert "refused: [no_environment] No environment that goes with NVIDIA T4 is" in refused
    assert "gives torch, under environments in profiles.yaml, a local: default, or" in refused


def test_a_catalog_alone_says_what_each_environment_lacks() -> None:
    of = _only(python={"local": "default"}, torch={"image": "a/b:1"})
    text = render(explain(of, [CMS], now=NOW), of)
    lacking = "python (not on Kubernetes: no image), torch (not on one machine: no local)"
    assert f"    environments: {lacking}\n" in text
