"""The provisioner over HTTP: who may ask, what is no request, and what the hub makes of answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from arcetri_accounting.client.tokenreview import TokenReviewer
from arcetri_spawner.provisioner.app import BIGGEST, Provisioner
from arcetri_spawner.provisioner.cli import missing_rights
from arcetri_spawner.provisioner.client import ProvisionerClient
from arcetri_spawner.provisioner.contract import (
    AUDIENCE,
    FOLDERS,
    HEALTH,
    SPACE,
    FoldersRequest,
    Person,
    Place,
    SpaceRequest,
    Wanted,
)
from arcetri_spawner.provisioner.faults import FolderTrouble
from arcetri_spawner.provisioner.work import Claims
from tests.accounting.client import apiserver
from tests.accounting.client.apiserver import NOBODY, Api, somebody

pytestmark = pytest.mark.component

HUB = "system:serviceaccount:arcetri:arcetri-hub"
HOME = Wanted(volume="home", claim="shared", path=("home", "alice"))
TOKEN = apiserver.token(AUDIENCE)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    folder = tmp_path / "api"
    folder.mkdir()
    with apiserver.running(folder) as running:
        running.answer = lambda _: (201, somebody(HUB, AUDIENCE))
        yield running


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "claims" / "shared"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def url(api: Api, shared: Path) -> Iterator[str]:
    """A provisioner that serves."""
    reviewer = TokenReviewer(AUDIENCE, api.server)
    claims = Claims(shared.parent, mounted=False)
    app = Provisioner(claims, reviewer, ["arcetri:arcetri-hub"]).app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", http="h11"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
    reviewer.close()


@pytest.fixture
async def client(url: str, tmp_path: Path) -> AsyncIterator[ProvisionerClient]:
    (tmp_path / "token").write_text(TOKEN)
    made = ProvisionerClient(url, tmp_path / "token")
    yield made
    await made.close()


def as_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take whoever runs the tests for a person."""
    monkeypatch.setattr("arcetri_spawner.provisioner.work.owner_of", lambda *_: None)


def request() -> FoldersRequest:
    return FoldersRequest(person=Person(username="alice", uid=200000, gid=200000), folders=(HOME,))


async def test_the_hub_has_folders_made_and_is_told_their_room(
    client: ProvisionerClient, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_anybody(monkeypatch)
    for made in (True, False):
        (report,) = (await client.make(request())).folders
        assert (report.volume, report.made) == ("home", made)
        assert report.room is not None
        assert report.room.size > report.room.free > 0
    assert (shared / "home/alice").is_dir()
    place = Place(volume="home", claim="shared", path=("home", "alice"))
    (told,) = (await client.space(SpaceRequest(folders=(place,)))).folders
    assert told.room is not None
    assert told.room.size == report.room.size


def send(url: str, token: str | None, body: Any, path: str = FOLDERS) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{url}{path}", content=content, headers=headers, trust_env=False)


@pytest.mark.parametrize("path", [FOLDERS, SPACE])
def test_nobody_else_is_served(url: str, api: Api, shared: Path, path: str) -> None:
    body = request().model_dump(mode="json")
    for token in (None, "guess", apiserver.token("arcetri-ledger"), apiserver.token("hub")):
        answer = send(url, token, body, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert api.asked == []
    api.answer = lambda _: (201, NOBODY)
    assert send(url, apiserver.token(AUDIENCE, jti="1"), body, path).status_code == 401
    for number, other in enumerate(
        ("system:serviceaccount:sessions:default", "system:serviceaccount:evil:arcetri-hub")
    ):
        api.answer = lambda _, other=other: (201, somebody(other, AUDIENCE))  # type: ignore[misc]
        answer = send(url, apiserver.token(AUDIENCE, jti=f"o{number}"), body, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_the_hub")
    api.answer = lambda _: (403, NOBODY)
    answer = send(url, apiserver.token(AUDIENCE, jti="2"), body, path)
    assert (answer.status_code, answer.json()["code"]) == (503, "review_unavailable")
    assert list(shared.iterdir()) == []


NASTY = ["", ".", "..", "../bob", "a/b", "/etc", "a\0b", "a\nb", "x" * 256, "é" * 128, "\u202e"]


def test_what_is_no_single_name_or_persons_id_is_refused(url: str, shared: Path) -> None:
    def changed(*way: str | int, to: object) -> httpx.Response:
        body = at = request().model_dump(mode="json")
        for key in way[:-1]:
            at = at[key]
        at[way[-1]] = to
        return send(url, TOKEN, body)

    for name in NASTY:
        for path in (["home", name], [name], ["home", name, "x"]):
            answer = changed("folders", 0, "path", to=path)
            assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), name
            assert "Traceback" not in answer.text
        for way in (("folders", 0, "claim"), ("folders", 0, "volume"), ("person", "username")):
            assert changed(*way, to=name).status_code == 422, (way, name)
    for number in (0, 1, 999, 65534, 65535, 2**31, -1, "200000", 2.5, None, True):
        for field in ("uid", "gid"):
            assert changed("person", field, to=number).status_code == 422, number
        groups = [{"gid": number, "write": True}]
        assert changed("folders", 0, "groups", to=groups).status_code == 422, number
    assert list(shared.iterdir()) == []


def test_what_is_no_request_is_refused(url: str) -> None:
    assert send(url, TOKEN, b"{").status_code == 422
    assert send(url, TOKEN, b"x" * (BIGGEST + 1)).status_code == 413
    body = request().model_dump(mode="json")
    body["folders"] *= 2
    assert "twice" in send(url, TOKEN, body).json()["message"]
    assert send(url, TOKEN, body | {"path": "/etc"}).status_code == 422
    assert send(url, TOKEN, body, "/api/v1/other").status_code == 404
    assert httpx.get(f"{url}{HEALTH}", trust_env=False).json() == {"status": "ok"}
    assert httpx.get(f"{url}{FOLDERS}", trust_env=False).status_code == 405


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.lists(st.text(max_size=12), max_size=4))
def test_every_name_that_is_taken_is_one_below_its_folder(tmp_path: Path, path: list[str]) -> None:
    try:
        place = Place(volume="v", claim="c", path=tuple(path))
    except ValidationError:
        return
    found = tmp_path.joinpath(*place.path)
    assert len(found.relative_to(tmp_path).parts) == len(path)
    assert ".." not in found.parts


async def test_what_cannot_be_made_reaches_the_hub_in_words(
    client: ProvisionerClient, shared: Path
) -> None:
    (shared / "home").write_text("")
    with pytest.raises(FolderTrouble, match="home is no folder") as error:
        await client.make(request())
    assert error.value.code == "volume_unsafe"
    away = request().model_copy(
        update={"folders": (HOME.model_copy(update={"claim": "elsewhere"}),)}
    )
    with pytest.raises(FolderTrouble, match='"elsewhere"') as error:
        await client.make(away)
    assert error.value.code == "claim_not_served"
    assert error.value.remedy


async def test_a_mistake_of_its_own_is_no_traceback(
    client: ProvisionerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(Claims, "make", broken)
    with pytest.raises(FolderTrouble) as error:
        await client.make(request())
    assert error.value.code == "provisioner_refused"
    assert "secret" not in error.value.details + str(error.value)


async def test_who_is_away_or_does_not_know_the_hub_is_said(
    client: ProvisionerClient, api: Api, tmp_path: Path
) -> None:
    api.answer = lambda _: (201, NOBODY)
    with pytest.raises(FolderTrouble) as error:
        await client.make(request())
    assert error.value.code == "provisioner_refused"
    assert "401" in error.value.details
    (tmp_path / "token").write_text(apiserver.token(AUDIENCE, jti="rotated"))
    api.close()
    with pytest.raises(FolderTrouble) as error:
        await client.make(request())
    assert error.value.code == "provisioner_away"
    (tmp_path / "token").unlink()
    with pytest.raises(FolderTrouble) as error:
        await client.make(request())
    assert "token" in error.value.details
    nowhere = ProvisionerClient("http://127.0.0.1:1", tmp_path / "other")
    (tmp_path / "other").write_text("x")
    with pytest.raises(FolderTrouble) as error:
        await nowhere.make(request())
    assert (error.value.code, error.value.status) == ("provisioner_away", 503)
    await nowhere.close()


def test_the_rights_it_needs_are_looked_for() -> None:
    assert missing_rights("Name: x\nCapEff:\t000000000000001b\n") == []
    assert missing_rights("CapEff:\t0000000000000001\n") == ["DAC_OVERRIDE", "FOWNER", "FSETID"]


def test_a_start_without_them_is_refused_in_a_sentence() -> None:
    command = [sys.executable, "-m", "arcetri_spawner.provisioner", "--account", "a:b"]
    drop = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"] if os.geteuid() == 0 else []
    for words, expected in (
        ([*drop, *command], "It runs as root with the capabilities"),
        (command, "KUBERNETES_SERVICE_HOST" if os.geteuid() == 0 else "It runs as root"),
    ):
        bare = {k: v for k, v in os.environ.items() if not k.startswith("KUBERNETES")}
        done = subprocess.run(words, capture_output=True, text=True, env=bare, check=False)
        assert done.returncode == 2
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
