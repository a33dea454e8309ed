"""The command: its settings, its look, its metrics, its end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from arcetri_accounting.agent import cli
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.metrics import FiguresCollector
from arcetri_accounting.contract.usage import Batch
from tests.accounting.agent.process import Hub, agent
from tests.accounting.agent.tiny import Reply, TinyLedger, serving
from tests.support.nvml import FakeMachine, remove
from tests.support.platform import until

METRICS = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


@pytest.fixture(scope="module", autouse=True)
def _library() -> Iterator[None]:
    yield
    remove()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    yield made
    made.journal.close()


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.main, ["run", *arguments])
    return result.exit_code, result.output


def test_a_config_file_that_is_wrong_says_where_and_what_is_allowed(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('ledgr = "http://127.0.0.1:1"\n')
    code, said = invoke("--config", str(config))
    assert code == 2
    assert "there is no setting ledgr" in said
    assert "token_file" in said
    config.write_text("ledger = \n")
    assert "line 1" in invoke("--config", str(config))[1]
    assert "No such file" in invoke("--config", str(tmp_path / "none.toml"))[1]


def test_what_is_missing_is_named() -> None:
    code, said = invoke()
    assert code == 2
    assert "Missing option" in said


SOMEWHERE = ("--spool", "s.db", "--ledger", "http://127.0.0.1:1", "--token-file", "t")


@pytest.mark.parametrize("told", [(), ("--journal", "j", "--sessions-namespace", "sessions")])
def test_who_holds_what_is_said_by_one_of_two_sources(told: tuple[str, ...]) -> None:
    code, said = invoke(*told, *SOMEWHERE)
    assert code == 2
    assert "--journal FILE on one machine" in said


@pytest.mark.component
def test_pods_outside_of_a_cluster_are_refused_in_words(tmp_path: Path) -> None:
    told = ["run", "--sessions-namespace", "sessions", *SOMEWHERE]
    result = subprocess.run(
        [sys.executable, "-m", "arcetri_accounting.agent", *told],
        env={k: v for k, v in os.environ.items() if k != "KUBERNETES_SERVICE_HOST"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "KUBERNETES_SERVICE_HOST is not set" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.component
def test_it_runs_from_a_config_file(tmp_path: Path, hub: Hub) -> None:
    ledger = TinyLedger()
    (tmp_path / "token").write_text("tiny-token\n")
    session = hub.start("SIM-1", simulated=True)
    with serving(ledger) as url:
        config = tmp_path / "agent.toml"
        config.write_text(
            f'journal = "{hub.path}"\nspool = "{tmp_path / "s.db"}"\nledger = "{url}"\n'
            f'token-file = "{tmp_path / "token"}"\nnode = "node7"\ninterval = 0.2\n'
        )
        command = "from arcetri_accounting.agent.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", command, "run", "--config", str(config)],
            stderr=subprocess.DEVNULL,
        ) as process:
            ledger.wait(lambda: bool(ledger.running(session)), "the session is shown")
            process.terminate()
            assert process.wait(20) == 0
    assert {batch.node for batch in ledger.batches} == {"node7"}
    assert ledger.batches[-1].interval_ms == 200


@pytest.mark.component
def test_a_second_one_on_the_same_spool_is_refused(tmp_path: Path, hub: Hub) -> None:
    ledger = TinyLedger()
    with serving(ledger) as url, agent(tmp_path, url):
        ledger.wait(lambda: bool(ledger.batches), "the first one runs")
        with agent(tmp_path, url) as second:
            assert second.process.wait(20) == 1
            assert "One writer at a time" in second.said()
    assert hub.truth == {}


@pytest.mark.component
def test_its_log_is_json_and_holds_no_token(tmp_path: Path, hub: Hub) -> None:
    ledger = TinyLedger()
    hub.start("SIM-1", simulated=True)
    with serving(ledger) as url, agent(tmp_path, url) as running:
        ledger.wait(lambda: bool(ledger.open), "the session is shown")
        running.terminate()

    lines = [json.loads(line) for line in running.said().splitlines()]
    assert [line["event"] for line in lines] == ["the agent runs", "the agent has ended"]
    assert "tiny-token" not in running.said()


@pytest.mark.component
def test_its_end_does_not_wait_for_a_ledger_that_hangs(tmp_path: Path, hub: Hub) -> None:
    release: list[bool] = []

    def hang(_batch: Batch) -> Reply:
        until(lambda: bool(release), "it is released", 60)
        return 500, b""

    ledger = TinyLedger()
    session = hub.start("SIM-1", simulated=True)
    with serving(ledger) as url, agent(tmp_path, url) as running:
        ledger.wait(lambda: bool(ledger.running(session)), "the session is shown")
        ledger.faults = [hang] * 20
        time.sleep(0.5)
        assert running.terminate() == 0
        release.append(True)
    # What could not be told is kept, and told by the next one.
    again = TinyLedger()
    with serving(again) as url, agent(tmp_path, url) as running:
        again.wait(lambda: bool(again.running(session)), "it goes on")
        hub.end(session)
        again.wait(lambda: not again.open, "it is final")
        running.terminate()
    ended = hub.truth[session][1]
    assert ended is not None
    last = max(again.segments(session), key=lambda one: one.b0)
    assert last.b0 + last.dur_ms == ended
    assert again.problems == []


@pytest.mark.component
def test_a_look_says_what_is_there_and_who_holds_it(tmp_path: Path, hub: Hub) -> None:
    machine = FakeMachine(tmp_path / "machine")
    machine.has(
        """
        gpu GPU-0 nomig Tesla T4
        util steady 25
        process 7 2147483648
        gpu GPU-1 mig NVIDIA A100
        mig MIG-0 3g.20gb
        """
    )
    session = hub.start("GPU-0")
    done = subprocess.run(
        [sys.executable, "-c", "from arcetri_accounting.agent.cli import main; main()",
         "look", "--seconds", "0.5", "--journal", str(hub.path)],
        env=machine.environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout.splitlines() == [
        "GPU-0  Tesla T4  up  used 25.0 %  occupied  2.00 GiB",
        "GPU-1  NVIDIA A100  up  in MIG mode",
        "MIG-0  NVIDIA A100 MIG 3g.20gb  up  use cannot be measured  no process  0.00 GiB",
        f"{session}  alice  /ai_infn/cms  t4  GPU-0",
    ]


@pytest.mark.component
def test_a_look_without_a_driver_says_what_that_means(tmp_path: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "from arcetri_accounting.agent.cli import main; main()",
         "look", "--seconds", "0.1"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert "NVML does not answer" in done.stdout or "GPU-" in done.stdout


@pytest.mark.component
def test_a_taken_port_of_metrics_does_not_keep_it_from_recording(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "token").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "arcetri_accounting.agent", "run", "--journal", str(hub.path),
             "--spool", str(tmp_path / "spool.db"), "--ledger", "http://127.0.0.1:1",
             "--token-file", str(tmp_path / "token"), "--metrics-port", port],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        refused, runs = (json.loads(process.stderr.readline()) for _ in range(2))
        process.terminate()
        process.communicate()

    assert (refused["level"], refused["port"]) == ("error", int(port))
    assert (runs["event"], runs["metrics_port"]) == ("the agent runs", None)
    assert process.returncode == 0


def test_metrics_are_served_and_documented(tmp_path: Path, hub: Hub) -> None:
    ledger = TinyLedger()
    hub.start("SIM-1", simulated=True)
    (tmp_path / "token").write_text("tiny-token")
    with serving(ledger) as url, subprocess.Popen(
        [sys.executable, "-c", "from arcetri_accounting.agent.cli import main; main()", "run",
         "--journal", str(hub.path), "--spool", str(tmp_path / "s.db"), "--ledger", url,
         "--token-file", str(tmp_path / "token"), "--interval", "0.2", "--metrics-port", "0"],
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        port = json.loads(process.stderr.readline())["metrics_port"]
        ledger.wait(lambda: bool(ledger.open), "the session is shown")

        def served() -> str:
            return httpx.get(f"http://127.0.0.1:{port}/metrics").text

        until(lambda: "arcetri_agent_open_allocations 1.0" in served(), "it is counted", 20)
        text = served()
        process.terminate()
        process.stderr.read()
        assert process.wait(20) == 0
    assert re.search(r'arcetri_agent_delivery_total\{outcome="accepted"\} [1-9]', text)
    assert 'arcetri_agent_gap_total{code="clock"} 0.0' in text


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    registry.register(FiguresCollector(Figures()))
    served = set(
        re.findall(r"^(arcetri_agent_\w+)", generate_latest(registry).decode(), re.MULTILINE)
    )
    documented = set(re.findall(r"`(arcetri_agent_\w+)`", METRICS.read_text(encoding="utf-8")))

    assert served == documented
