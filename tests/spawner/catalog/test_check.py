"""What a check says of an edit to the demonstration catalog: place, sentence and remedy."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from arcetri_spawner.backends.local.devices import inventory
from arcetri_spawner.catalog import check, load, parse
from arcetri_spawner.errors import CatalogError
from tests.support.catalogs import DEMO, NOW, SHIPPED, checked, edited, line_of, lines

ERRORS = [
    ("version: 1", "version: 2", "version: 2 is no version"),
    ("version: 1", "version: true", "version: must be the plain number 1"),
    ("  timezone:", "  timezon:", "site.timezon: there is no such key; allowed: the keys admins,"),
    ("  timezone:", "  timezon:", "; did you mean timezone"),
    ("  grace: 5m", "  grave: 5m", "defaults.grace: is missing; allowed: the warning before"),
    ("  idle: 1h ", "  idle: 1 hour", 'defaults.idle: "1 hour" is not a duration; allowed: a d'),
    ("  idle: 1h ", "  idle: 1 hour", "; did you mean 1h"),
    ("quota: 2, l", "quota: -1, l", "t4.quota: -1 is out of range; allowed: at least 0"),
    ("quota: 2, l", "quota: two, l", 't4.quota: must be a whole number, not the text "two"'),
    ("quota: 2, l", "quota: two, l", "; allowed: a whole number from 0 to 100000"),
    ("quota: 2, l", "quota: 2.0, l", "must be a whole number, not 2.0; allowed: a whole number"),
    ("quota: 2, l", "quota: 2.0, l", "; did you mean 2"),
    ("quota: 2, l", "quota: 0, l", "t4.quota: is 0 with nothing to borrow"),
    ("quota: 2, l", "borrow: 1, l", "t4.borrow: is there without a quota"),
    ("share: 1/7", "share: 1/11", 'a100-1g.share: "1/11" cannot be counted exactly: it is no w'),
    ("share: 1/7", "share: 8/7", 'a100-1g.share: "8/7" is out of range; allowed: a fraction su'),
    ("share: 1/7", "share: 0.142857", "a100-1g.share: 0.142857 cannot be counted exactly"),
    ("share: 1/7", "share: 0.142857", "; did you mean 1/7"),
    ("share: 1/7", "share: 1", "nvidia.com/mig-1g.5gb is a slice, and never the whole of a dev"),
    ("share: 1/7", "share: 1", "; allowed: at most 1/4; did you mean 1/7"),
    ("type: fpga", "type: fpag", "flavors.v70.type: fpag is none of the choices"),
    ("type: fpga", "type: fpag", "; did you mean fpga"),
    ("type: fpga", "type: cpu", "flavors.v70.type: is cpu, but a resource is named"),
    ("resource: amd.com/v70", "share: 1", "flavors.v70.type: is fpga, but no resource is named"),
    ("  cpu:\n", "  CPU only:\n", "flavors.CPU only: is not a name"),
    ("  cpu:\n", "  CPU only:\n", "; did you mean cpu-only"),
    ("title: Small", "title: 2026.10", "sizes.small.title: must be text, not a number"),
    ("title: Small", "title: 2026.10", '; did you mean "2026.10"'),
    ("memory: 2Gi", "memory: 2GB", 'sizes.small.memory: "2GB" is not a size'),
    ("memory: 2Gi", "memory: 2Gi, shm: 4Gi", "sizes.small.shm: is more than the memory"),
    ("    local: default\n  ml", "  ml", "environments.python: has neither image nor local"),
    ("flavors: [cpu]", "flavors: cpu", "everyone.flavors: must be a list, not text; did you me"),
    ("flavors: [cpu]", "flavors: [cpv]", "everyone.flavors[0]: there is no flavour cpv"),
    ("flavors: [cpu]", "flavors: [cpv]", "; did you mean cpu"),
    ("flavors: [t4, a", "flavors: [t5, a", "environments.ml.flavors[0]: there is no flavour t5"),
    ("volumes: [cms]", "volumes: [csm]", "groups./arcetri/cms.volumes[0]: there is no volume"),
    ("      t4: {q", "      t5: {q", "groups./arcetri/cms.flavors.t5: there is no flavour t5"),
    ("    t4: 2\n", "    t5: 2\n", "local.simulate.t5: there is no flavour t5"),
    ("    t4: 2\n", "    cpu: 2\n", "local.simulate.cpu: is a flavour without a device"),
    ("/home/{username}", "/home/{user}", "volumes.home.mount: has the unknown variable {user}"),
    ("/home/{username}", "/home/{user}", "; did you mean {username}"),
    ("/arcetri/virgo:", "arcetri/cms:", "groups.arcetri/cms: is the group /arcetri/cms, which"),
    ("/arcetri/virgo:", "a//b:", 'groups.a//b: "a//b" is not a group path'),
    ("claim: shared, path: groups/cms}", "x: 1}", "volumes.cms.x: there is no such key; allowed: "),
    ("claim: shared, path: groups/cms}", "path: x}", "volumes.cms: has neither claim nor scratch"),
    (
        "claim: shared, path: groups/cms}",
        "claim: shared, scratch: {size: 1Gi}}",
        "volumes.cms.claim: says what is kept, and of scratch nothing is; allowed: no claim",
    ),
    (
        "claim: shared, path: groups/cms}",
        "path: x, scratch: {size: 1Gi}}",
        "volumes.cms.path: says what is kept, and of scratch nothing is; allowed: no path",
    ),
    (
        "claim: shared, path: groups/cms}",
        "quota: 1Gi, scratch: {size: 1Gi}}",
        "volumes.cms.quota: says what is kept, and of scratch nothing is",
    ),
    (
        "claim: shared, path: groups/cms}",
        "mode: ro, scratch: {size: 1Gi}}",
        "volumes.cms.mode: is ro, so the scratch would stay empty; allowed: rw; did you mean rw",
    ),
    (
        "claim: shared, path: groups/cms}",
        "scratch: {size: 1Gi, fsgroup: true}}",
        "volumes.cms.scratch.fsgroup: is for volumes of a storage class, and none is named",
    ),
    ("claim: shared, path: groups/cms}", "scratch: {}}", "volumes.cms.scratch.size: is missing"),
    (
        "claim: shared, path: groups/cms}",
        "scratch: {size: 1 GB}}",
        'volumes.cms.scratch.size: "1 GB" is not a size',
    ),
    (
        "claim: shared, path: groups/cms}",
        "scratch: {size: 1Gi, storage_clas: x}}",
        "; did you mean storage_class",
    ),
    ("groups: 300000", "groups: 299999", "ids.groups: overlaps ids.users"),
    ("grace: 5m", "grace: 13h", "defaults.grace: is not shorter than the lifetime"),
    ("stop: 10s", "stop: 12h", "defaults.stop: is not shorter than the lifetime"),
    ("flavors:\n  t4:", "flavors: {}\nx:\n  t4:", "flavors: has no flavour, so no session"),
    (
        "    flavors:\n      t4: {q",
        "    flavors: [t4]\n    x:\n      t4: {q",
        "must be a mapping, ",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), ERRORS)
def test_errors(old: str, new: str, said: str) -> None:
    text = edited((old, new))
    result = checked(text)

    assert result.catalog is None
    assert any(said in finding.render() for finding in result.errors), lines(text)


WARNINGS = [
    ("groups:\n  /arc", "groups:\n  /x: {}\n  /arc", "groups./x: grants nothing"),
    ("flavors: [t4, a100-1g]", "flavors: []", "environments.ml: no flavour can run it"),
    ("[/arcetri/cms/leads]", "[/cms/leads]", "leads[0]: nobody can be this lead"),
    ("[/arcetri/cms/leads]", "[/arcetri/cmss/leads]", "; did you mean /arcetri/cms/leads"),
    ("[/arcetri/cms/leads]", "[/arcetri/admims]", "; did you mean /arcetri/admins"),
    (
        "[/arcetri/cms/leads]",
        "[/arcetri/cns]",
        "as /arcetri/cms/leads; did you mean /arcetri/cms/leads",
    ),
    ('path: "home/{username}"', "path: home", "volumes.home.path: is one folder, in which every"),
    ('path: "home/{username}"', "path: home", "; did you mean home/{username}"),
    ("v70: {quota: 1}", "v70: {quota: 2}", "v70.quota: is more than the 1 that local.simulate"),
    ("mount: /data/cms", "mount: /data/virgo", "mounted over volume cms, which is at the same pl"),
    ("mount: /data/cms", "mount: /data/virgo/x", "mounted over a part of volume virgo"),
    (
        "amd.com/v70",
        "nvidia.com/gpu\n    nodes: {nvidia.com/gpu.product: Tesla-T4}",
        "same devices",
    ),
    (
        "amd.com/v70",
        "nvidia.com/gpu\n    nodes: {nvidia.com/gpu.product: Tesla-T4, zone: b}",
        "flavors.v70: selects what t4 selects too: one resource, and more node labels",
    ),
    (
        "amd.com/v70",
        "nvidia.com/gpu",
        "flavors.v70: selects all that t4 selects too: one resource, and fewer node labels",
    ),
    ("title: AMD Alveo V70", "title: NVIDIA T4", "flavors.v70.title: is the title of t4 too"),
    ("type: fpga", "type: fpga\n    maintenance: {until: 2026-11-23}", "until: is in the past"),
    (
        "type: fpga",
        "type: fpga\n    maintenance: {from: 2030-11-23, until: 2030-11-23}",
        "until: is not after from",
    ),
    ("volumes: [cms]", "volumes: [cms, cms]", "volumes[1]: cms is listed twice"),
    ("volumes: [cms]", "volumes: []", "volumes.cms: is granted to nobody"),
    ("      v70: {quota: 1}\n", "", "flavors.v70: is granted to nobody"),
    ("grace: 5m", "grace: 59s", "defaults.grace: is so short that a notebook may show the warn"),
    ("/arcetri/cms:", "/arcetri/*:", "groups./arcetri/*: is compared exactly, so it stands for"),
    ("[/arcetri/cms/leads]", "[/arcetri/cms/*]", "leads[0]: is compared exactly"),
    ("[/arcetri/admins]", "[/arcetri/adm?ns]", "site.admins[0]: is compared exactly"),
    ("requests: 3", "requests: 1", "limits.requests: is below limits.sessions"),
    ("idle: 1h", "idle: 2d", "defaults.idle: is longer than the lifetime"),
    ("quota: 2, limit: 2", "quota: 2, limit: 3", "a100-1g.limit: is more than the whole group"),
    ("quota: 2, limit: 2", "quota: 2, borrow: 3", "a100-1g.borrow: is more than the other groups'"),
    ("cpu: 2, memory: 4Gi", "cpu: 2, memory: 4Gi, flavors: []", "sizes.medium: no flavour can ha"),
]


@pytest.mark.parametrize(("old", "new", "said"), WARNINGS)
def test_warnings_leave_the_catalog_usable(old: str, new: str, said: str) -> None:
    text = edited((old, new))
    result = checked(text)

    assert result.catalog is not None, lines(text)
    assert any(said in finding.render() for finding in result.warnings), lines(text)


def test_flavours_without_devices_may_share_their_nodes() -> None:
    old, new = "sizes:\n", "  big: {title: Much memory, nodes: {memory: much}}\nsizes:\n"
    assert not any("selects" in line for line in lines(edited((old, new))))


def test_a_duration_without_a_unit_has_none_suggested() -> None:
    (line,) = lines(edited(("idle: 1h", "idle: 1")))
    _, _, said = line.partition("defaults.idle: ")
    assert said.startswith("has no unit; allowed: a duration from 1s to 366d, such as 30s, 10m")
    assert "did you mean" not in said


def test_scratch_is_a_volume_without_a_claim() -> None:
    scratch = "scratch: {size: 200Gi, storage_class: local-nvme}}"
    result = checked(edited(("claim: shared, path: groups/cms}", scratch)))
    assert result.findings == ()
    assert result.catalog is not None
    volume = result.catalog.catalog.volumes["cms"]
    assert volume.claim is None
    assert volume.scratch is not None
    assert (volume.scratch.size, volume.scratch.storage_class) == (200 * 2**30, "local-nvme")


def test_maintenance_that_lasts_is_no_warning() -> None:
    assert not lines(edited(("type: fpga", "type: fpga\n    maintenance: {until: 2026-11-24}")))


def test_all_that_is_wrong_is_said_at_once_and_at_its_place() -> None:
    text = edited(
        ("timezone:", "timezon:"),
        ("share: 1/7", "share: 1/11"),
        ("flavors: [cpu]", "flavors: [cpv]"),
        ("quota: 1, limit: 1}\n      v70", "quota: 0, limit: 1}\n      v70"),
        ("volumes: [virgo]", "volumes: [vigro]"),
        ("title: Students", "title: on"),
        ("groups:\n  /arc", "groups:\n  /nothing: {}\n  /arc"),
    )
    result = checked(text)

    assert {(one.line, one.field) for one in result.errors} >= {
        (line_of(text, "timezon:"), "site.timezon"),
        (line_of(text, "share: 1/11"), "flavors.a100-1g.share"),
        (line_of(text, "[cpv]"), "everyone.flavors[0]"),
        (line_of(text, "quota: 0"), "groups./arcetri/virgo.flavors.t4.quota"),
        (line_of(text, "[vigro]"), "groups./arcetri/virgo.volumes[0]"),
        (line_of(text, "title: on"), "groups./arcetri/students.title"),
    }
    assert [one.field for one in result.warnings] == ["groups./nothing"]


IDLE = ("idle: 1h ", "idle: 1 hour")
TITLE = ("title: Students", "title: 5")
COUNT = ("t4: {quota: 2, ", "t4: {quota: -1, ")
TYPO = ("volumes: [virgo]", "volumes: [vigro]")
UNMEANT = {
    "environments.ml": ("flavors: [t4, a100-1g]", "flavors: []"),
    "groups./arcetri/cms.leads[0]": ("[/arcetri/cms/leads]", "[/cms/leads]"),
    "flavors.v70": ("      v70: {quota: 1}\n", ""),
    "groups./arcetri/students.flavors.a100-1g.borrow": (
        "a100-1g: {quota: 2, limit: 1}",
        "a100-1g: {quota: 2, limit: 1, borrow: 9}",
    ),
}


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        (IDLE, set()),
        (TITLE, set()),
        # A quota that is not known may be what another group could borrow.
        (COUNT, {"groups./arcetri/students.flavors.a100-1g.borrow"}),
        # Which names were meant to be granted is not known.
        (TYPO, UNMEANT.keys() - {"groups./arcetri/cms.leads[0]"}),
    ],
)
def test_an_error_hides_only_what_it_may_explain(
    error: tuple[str, str], explained: set[str]
) -> None:
    result = checked(edited(error, *UNMEANT.values()))

    assert len(result.errors) == 1
    assert {one.field for one in result.warnings} == UNMEANT.keys() - explained


@pytest.mark.parametrize(
    ("edits", "errors", "warnings"),
    [
        # Who is granted what was there, but under another name.
        ([("everyone: ", "everybody: ")], {"everybody"}, set()),
        ([("groups:\n", "group:\n")], {"group"}, set()),
        ([("site:\n", "sites:\n"), ("[/arcetri/cms/leads]", "[/x/leads]")], {"sites"}, set()),
        ([("    volumes: [cms]", "    volume: [cms]")], {"groups./arcetri/cms.volume"}, set()),
        ([("[t4, a100-1g]", "[t5, a100-1g]")], {"environments.ml.flavors[0]"}, set()),
        ([("[t4, a100-1g]", "[t5]")], {"environments.ml.flavors[0]"}, set()),
        ([("sizes:\n", "sizes:\n  on: {cpu: 1}\n")], {"sizes"}, set()),
        (
            [("  /arcetri/cms:", "  /arcetri//cms:"), ("[/arcetri/cms/leads]", "[/x/leads]")],
            {"groups./arcetri//cms"},
            set(),
        ),
        (
            [("quota: 2, limit: 1}\n", "quota: on, limit: 1}\n"), ("[cms]", "[]")],
            {"groups./arcetri/cms.flavors.t4.quota"},
            {"volumes.cms"},
        ),
    ],
)
def test_what_may_have_been_meant_is_not_missing(
    edits: list[tuple[str, str]], errors: set[str], warnings: set[str]
) -> None:
    text = edited(*edits)
    result = checked(text)

    assert {one.field for one in result.errors} == errors, lines(text)
    assert {one.field for one in result.warnings} == warnings, lines(text)


def _not_here(text: str, **options: bool) -> set[str]:
    found = parse(text.encode(), "p.yaml", now=NOW, **options).warnings
    return {one.field for one in found if "on one machine" in one.message}


def test_flavours_that_no_environment_of_one_machine_runs() -> None:
    images = DEMO.replace("local: default", "image: a/b:1")
    flavors = {"flavors.t4", "flavors.a100-1g", "flavors.v70", "flavors.cpu"}

    assert _not_here(images) == flavors
    # Kept to accelerators, with an FPGA that one machine never has.
    some = edited(("    local: default\n  ml", "    image: a/b:1\n  ml"), ("    v70: 1\n", ""))
    assert _not_here(some) == {"flavors.cpu"}
    assert _not_here(DEMO) == set()


def test_a_catalog_for_kubernetes_alone_needs_nothing_local() -> None:
    images = DEMO.replace("local: default", "image: a/b:1")
    kubernetes = images[: images.index("local:  ")]

    assert "\nlocal:" not in kubernetes
    assert _not_here(kubernetes) == set()
    # The platform of one machine uses it all the same.
    assert _not_here(kubernetes, here=True) == {"flavors.t4", "flavors.a100-1g", "flavors.cpu"}
    assert _not_here(images.replace("image: a/b:1", "image: 5"), here=True) == set()


def test_what_is_local_is_what_one_machine_starts() -> None:
    images = edited(("    local: default\n    flavors", "    image: a/b:1\n    flavors"))
    loaded = checked(images).catalog
    assert loaded is not None

    found = inventory(loaded.catalog, {}, (), as_of=NOW, stale=False)
    assert loaded.catalog.local_environments() == found.environments == {"python"}


def test_nothing_is_said_of_what_an_error_explains() -> None:
    found = checked(edited(("title: AMD Alveo V70", "titel: AMD Alveo V70"))).findings

    assert {one.field for one in found} == {"flavors.v70.titel", "flavors.v70.title"}


@pytest.mark.parametrize("name", ["demo", "example"])
def test_shipped_catalogs_have_no_findings(name: str) -> None:
    result = check(SHIPPED / f"{name}.yaml")

    assert [one.render() for one in result.findings] == []
    assert result.catalog is not None


def test_the_example_carries_the_reference_farm() -> None:
    catalog = load(SHIPPED / "example.yaml").catalog
    farm = catalog.local.simulate

    assert {name: farm[name] for name in ("t4", "rtx5000", "a30", "a30-1g", "v70")} == {
        "t4": 8,
        "rtx5000": 5,
        "a30": 1,
        "a30-1g": 4,
        "v70": 2,
    }
    a100 = sum(
        count * catalog.flavors[name].share for name, count in farm.items() if "a100" in name
    )
    assert a100 == Fraction(4)
    assert catalog.flavors["cpu"].type == "cpu"


def test_values_arrive_with_their_types() -> None:
    catalog = load(SHIPPED / "demo.yaml").catalog

    assert catalog.defaults.idle == timedelta(hours=1)
    assert catalog.ids.users == range(200_000, 300_000)
    assert catalog.flavors["a100-1g"].share == Fraction(1, 7)
    assert catalog.flavors["t4"].type == "gpu"
    assert catalog.sizes["small"].memory == 2 << 30


def test_load_raises_with_every_finding(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(edited(("share: 1/7", "share: 1/11"), ("[cpu]", "[cpv]")))

    with pytest.raises(CatalogError) as refused:
        load(path)

    assert len(refused.value.findings) == 2
    assert str(path) in refused.value.message
    assert "(and 1 more)" in refused.value.message
    assert "arcetri profiles check" in refused.value.remedy


def test_files_that_are_none_are_findings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = [
        check(path).findings[0].message for path in (tmp_path / "no", tmp_path / "pipe", tmp_path)
    ]

    assert said[0] == "the file cannot be read: no such file or directory"
    assert said[1] == "the file cannot be read: it is not a regular file"
    assert said[2].startswith("the file cannot be read: ")


def test_the_digest_is_of_the_bytes() -> None:
    one, other = checked(DEMO).catalog, checked(DEMO + "\n# said\n").catalog

    assert one is not None
    assert other is not None
    assert one.catalog == other.catalog
    assert one.digest != other.digest


def test_an_interpreter_that_is_not_on_this_machine_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    for local, warned in (
        ("/nowhere/python", True),
        (str(path), True),
        (sys.executable, False),
        (str(tmp_path), False),
    ):
        path.write_text(
            edited(("    local: default\n    flavors", f"    local: {local}\n    flavors"))
        )

        found = [finding.field for finding in check(path).warnings]

        assert found == (["environments.ml.local"] if warned else []), local
    # Bytes alone are of no machine.
    assert not parse(path.read_bytes().replace(b"local: /", b"local: /no"), "p.yaml").warnings


def test_a_key_that_is_no_name_is_one_mistake() -> None:
    text = edited(("  a100-1g:\n    title", "  A100 1g:\n    title"))

    assert [(one.line, one.field) for one in checked(text).findings] == [
        (line_of(text, "A100 1g:"), "flavors.A100 1g")
    ]
    other = lines(edited(("  a100-1g:\n    title", "  A100 1g:\n    title"), ("[cpu]", "[cpv]")))
    assert any("did you mean cpu" in one and "A100" not in one for one in other), other


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("    title: NVIDIA T4\n", "    title NVIDIA T4\n", "title: NVIDIA T4"),
        ("  idle: 1h ", "  idle 1h ", "idle: 1h"),
        ("    resource: amd.com/v70\n  cpu:\n", "    resource\n  cpu:\n", ""),
    ],
)
def test_a_missing_colon_is_told_where_it_is_missing(old: str, new: str, meant: str) -> None:
    text = edited((old, new))
    (found,) = checked(text).findings

    if meant:
        line = new.split("\n")[0]
        assert (found.line, found.column) == (
            line_of(text, line),
            len(line) - len(line.lstrip()) + 1,
        )
        assert found.message == "there is no colon after the key"
    assert found.suggestion == meant


def test_an_ambiguous_key_is_only_ever_text() -> None:
    (found,) = checked(edited(("      v70: {quota: 1}", "      no: {quota: 1}"))).errors

    assert found.allowed == 'text as a key: "no" in quotes'
