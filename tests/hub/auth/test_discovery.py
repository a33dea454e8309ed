"""Discovery documents."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from arcetri_hub.auth.discovery import (
    DiscoveryError,
    check_issuer,
    discovery_url,
    end_session_url,
    issuer_key,
    logout_url,
    read_discovery,
)

ISSUER = "https://iam.example.org/"
DOCUMENT: dict[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}authorize",
    "token_endpoint": f"{ISSUER}token",
    "userinfo_endpoint": f"{ISSUER}userinfo",
    "jwks_uri": f"{ISSUER}jwk",
    "id_token_signing_alg_values_supported": ["none", "RS256", "HS256"],
}


@pytest.mark.parametrize("configured", [ISSUER, ISSUER[:-1], "https://IAM.example.org"])
def test_the_slash_at_the_end_makes_no_other_issuer(configured: str) -> None:
    provider = read_discovery(DOCUMENT, configured)
    assert provider.issuer == ISSUER
    assert provider.jwks_uri == "https://iam.example.org/jwk"
    assert issuer_key(configured) == issuer_key(ISSUER)
    assert discovery_url(configured).lower() == f"{ISSUER}.well-known/openid-configuration"


@pytest.mark.parametrize(
    "other",
    ["https://iam.example.org/other", "https://iam.example.com/", "http://iam.example.org/", None],
)
def test_a_document_of_another_issuer_is_refused(other: object) -> None:
    with pytest.raises(DiscoveryError, match="another issuer"):
        read_discovery({**DOCUMENT, "issuer": other}, ISSUER)


@pytest.mark.parametrize("name", [n for n in DOCUMENT if n.endswith(("endpoint", "uri"))])
@pytest.mark.parametrize("value", [None, 3, "", "/token", "http://iam.example.org/x"])
def test_an_endpoint_that_cannot_be_used_is_refused(name: str, value: object) -> None:
    with pytest.raises(DiscoveryError, match=name):
        read_discovery({**DOCUMENT, name: value}, ISSUER)


def test_an_issuer_that_signs_otherwise_is_refused() -> None:
    weak = {**DOCUMENT, "id_token_signing_alg_values_supported": ["none", "HS256"]}
    with pytest.raises(DiscoveryError, match="RS256"):
        read_discovery(weak, ISSUER)


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080/", "http://localhost:1", "http://[::1]"])
def test_plain_http_is_for_this_machine(issuer: str) -> None:
    assert check_issuer(issuer) == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "iam.example.org",
        "http://iam.example.org",
        "http://127.0.0.1.evil.org",
        "ftp://x/",
        "https://iam.example.org/?a=b",
        "https://iam.example.org/#x",
        "https://u:p@iam.example.org",
    ],
)
def test_an_issuer_that_cannot_be_one_is_refused(issuer: str) -> None:
    with pytest.raises(ValueError, match="issuer"):
        check_issuer(issuer)


def test_where_a_session_ends_may_be_left_out() -> None:
    assert read_discovery(DOCUMENT, ISSUER).end_session_endpoint == ""
    said = {**DOCUMENT, "end_session_endpoint": f"{ISSUER}bye"}
    assert read_discovery(said, ISSUER).end_session_endpoint == f"{ISSUER}bye"


@pytest.mark.parametrize("value", [None, 3, "", "/bye", "http://iam.example.org/bye"])
def test_where_a_session_ends_is_not_used_when_it_cannot_be(value: object) -> None:
    said = {**DOCUMENT, "end_session_endpoint": value}
    assert read_discovery(said, ISSUER).end_session_endpoint == ""


@pytest.mark.parametrize("endpoint", [f"{ISSUER}bye", f"{ISSUER}bye?realm=a"])
def test_the_way_out_names_client_and_way_back(endpoint: str) -> None:
    provider = read_discovery({**DOCUMENT, "end_session_endpoint": endpoint}, ISSUER)
    url = end_session_url(provider, "a b", "https://hub.example/hub/logout", "x&y")
    assert url.startswith(endpoint)
    query = parse_qs(urlsplit(url).query)
    query.pop("realm", None)
    assert query == {
        "client_id": ["a b"],
        "post_logout_redirect_uri": ["https://hub.example/hub/logout"],
        "state": ["x&y"],
    }


def test_logout_is_beside_the_issuer() -> None:
    assert logout_url(ISSUER) == logout_url(ISSUER[:-1]) == "https://iam.example.org/logout"
