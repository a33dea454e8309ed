"""The kubelet's socket: what it may answer, and what it does when it is not well.

Against the real kubelet it is tried in ``tests/cluster``; here stands what that will not do on
request, at the wire.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods import kubelet as module
from arcetri_accounting.agent.pods.devices import Assigned, Listing
from arcetri_accounting.agent.pods.kubelet import Kubelet, KubeletAway, Lister
from arcetri_accounting.agent.pods.messages import message

pytestmark = pytest.mark.component


def framed(content: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(content)) + content


@dataclass
class Server:
    """Answers each method with its bytes, or with a gRPC status and nothing else."""

    path: Path
    answers: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.path.unlink()
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(one)
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        bodies: dict[int, bytes] = {}
        with one, contextlib.suppress(OSError):
            one.sendall(connection.data_to_send())
            while data := one.recv(65_536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        headers = {str(name): str(value) for name, value in event.headers}
                        assert headers["content-type"] == "application/grpc"
                        assert headers["te"] == "trailers"
                        service, _, method = headers[":path"].lstrip("/").partition("/")
                        assert service == "v1.PodResourcesLister"
                        self.asked.append(method)
                    elif isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    elif isinstance(event, h2.events.StreamEnded):
                        assert bodies[event.stream_id] == framed(b"")
                        self._answer(connection, event.stream_id, self.asked[-1])
                one.sendall(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, stream: int, method: str) -> None:
        said = self.answers.get(method, 12)
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if isinstance(said, int):
            failed = [("grpc-status", str(said)), ("grpc-message", "not today")]
            connection.send_headers(stream, [*head, *failed], end_stream=True)
            return
        connection.send_headers(stream, head)
        for begin in range(0, len(said), 16_000):
            connection.send_data(stream, said[begin : begin + 16_000])
        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "kubelet.sock")
    yield made
    if made.path.exists():
        made.close()


def holding(*devices: str, resource: str = "nvidia.com/gpu") -> bytes:
    answer = message("ListPodResourcesResponse")()
    pod = answer.pod_resources.add(name="session-1", namespace="sessions")
    container = pod.containers.add(name="notebook")
    container.devices.add(resource_name=resource, device_ids=devices)
    return framed(answer.SerializeToString())


def offering(*devices: str) -> bytes:
    answer = message("AllocatableResourcesResponse")()
    answer.devices.add(resource_name="nvidia.com/gpu", device_ids=devices)
    return framed(answer.SerializeToString())


@pytest.fixture
def kubelet(server: Server) -> Iterator[Kubelet]:
    made = Kubelet(server.path, "n1", SystemClock())
    yield made
    made.close()


def test_it_says_who_holds_what_and_in_how_many_parts(server: Server, kubelet: Kubelet) -> None:
    server.answers = {
        "List": holding("GPU-0::1"),
        "GetAllocatableResources": offering("GPU-0::0", "GPU-0::1", "GPU-1"),
    }
    found = kubelet.listing()
    (entry,) = found.entries
    assert (entry.namespace, entry.name) == ("sessions", "session-1")
    assert entry.containers == {"notebook": (Assigned("nvidia.com/gpu", ("GPU-0::1",)),)}
    assert found.replicas == {"GPU-0": 2}
    kubelet.listing()
    assert server.asked == ["GetAllocatableResources", "List", "List"]


def test_what_it_cannot_count_it_still_lists(server: Server, kubelet: Kubelet) -> None:
    server.answers = {"List": holding("GPU-0")}
    assert kubelet.listing().entries[0].name == "session-1"
    assert kubelet.listing().replicas == {}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (14, "gRPC 14 not today"),
        (b"", "no message"),
        (holding("GPU-0")[:-1], "not whole"),
        (holding("GPU-0") + b"x", "not whole"),
        (framed(b"", compressed=1), "not whole"),
        (framed(b"\xff\xff\xff"), "cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_said(
    server: Server, kubelet: Kubelet, answer: bytes | int, why: str
) -> None:
    server.answers = {"List": answer}
    with pytest.raises(KubeletAway, match=why):
        kubelet.listing()


def test_a_long_answer_is_read_and_one_without_end_is_not(
    server: Server, kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"GPU-{number:030}" for number in range(1500)]
    server.answers = {"List": holding(*many)}
    (assigned,) = kubelet.listing().entries[0].containers["notebook"]
    assert list(assigned.ids) == many
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    with pytest.raises(KubeletAway, match="too long"):
        kubelet.listing()


# httpcore leaves a socket that it could not connect to the garbage, which closes it at once.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socket_that_comes_and_goes_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    heard: list[Listing] = []
    figures = Figures()
    lister = Lister(Kubelet(path, "n1", SystemClock()), heard.append, figures, 0.05)
    lister.start()

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, (figures, heard)
            time.sleep(0.02)

    def missed() -> bool:
        return figures.kubelet_errors > 0 and figures.kubelet_up == 0

    try:
        for _ in range(2):
            until(missed)
            heard.clear()
            server = Server(path, {"List": holding("GPU-0")})
            until(lambda: bool(heard) and figures.kubelet_up == 1)
            figures.kubelet_errors = 0
            server.close()
        until(missed)
    finally:
        lister.close()
