"""The page about the client of Kueue: its examples do what they say, and its tables are whole."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kueue_client import Cause, Kueue, KueueError, TicketState
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "kueue-client.md"
NAMESPACE = "notebooks"
_FENCE = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def reach(with_kueue: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a reader has: a kubeconfig, and a namespace; what they make goes again."""
    with_kueue.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with real.reachable(with_kueue, tmp_path) as path:
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield path
        with Kueue.from_kubeconfig(path) as kueue:
            for one in kueue.workloads.list(NAMESPACE).items:
                kueue.workloads.delete(one.name, NAMESPACE)
            kueue.local_queues.delete("cms", NAMESPACE)
            kueue.cluster_queues.delete("cms")
            kueue.resource_flavors.delete("linux")
            kueue.topologies.delete("nodes")
    with_kueue.run(["kubectl", "delete", "namespace", NAMESPACE, "--wait=false", "--now"])


@pytest.mark.cluster
@pytest.mark.usefixtures("reach")
def test_the_pages_examples_print_what_it_says() -> None:
    told: dict[str, Any] = {}
    printed = ""
    blocks = _FENCE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 12
    for language, text in blocks:
        if language == "text":
            assert printed == text
            continue
        taken = io.StringIO()
        with contextlib.redirect_stdout(taken):
            exec(compile(text, str(PAGE), "exec"), told)  # noqa: S102  # the page's own
        printed = taken.getvalue()


def test_the_pages_tables_have_every_word() -> None:
    page = PAGE.read_text(encoding="utf-8")

    def below(kind: type[KueueError]) -> Iterator[type[KueueError]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    rows = [f"| `{one.__name__}` | `{one.code}` |" for one in below(KueueError)]
    words = [f"`{one.value}`" for one in (*Cause, *TicketState)]
    assert [word for word in (*rows, *words) if word not in page] == []
