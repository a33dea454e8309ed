"""What the ledger learns of a catalog."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import arcetri_hub
from arcetri_accounting.contract.witness import CatalogSnapshot
from arcetri_spawner.catalog import check
from arcetri_spawner.usage import snapshot

EXAMPLE = Path(arcetri_hub.__file__).parent / "catalogs" / "example.yaml"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_the_extract_says_what_a_report_is_read_against() -> None:
    loaded = check(EXAMPLE).catalog
    assert loaded is not None
    extract = snapshot(loaded, NOW)

    assert CatalogSnapshot.model_validate_json(extract.model_dump_json()) == extract
    assert (extract.digest, extract.since) == (loaded.digest, NOW)
    assert set(extract.flavors) == set(loaded.catalog.flavors)
    assert set(extract.groups) == {"everyone"} | set(loaded.catalog.groups)
    for path, group in loaded.catalog.groups.items():
        terms = extract.groups[path]
        assert terms.leads == tuple(group.leads)
        assert terms.subgroups == group.subgroups
        assert terms.startable == set(group.flavors), "all that it grants, with a quota or without"
        assert all(
            terms.quotas.get(name) == granted.quota for name, granted in group.flavors.items()
        )
    assert Fraction(1, 7) in {flavor.share for flavor in extract.flavors.values()}
