"""ID tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from arcetri_hub.auth.idtoken import IdTokenError, KeyRing

ISSUER = "https://iam.example.org/"
CLIENT = "hub"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def other() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


class Issuer:
    """Publishes keys, and counts how often it is asked."""

    def __init__(self, **keys: RSAPrivateKey) -> None:
        self.publish(**keys)
        self.asked = 0

    def publish(self, **keys: RSAPrivateKey) -> None:
        algorithm = jwt.algorithms.RSAAlgorithm
        self.keys: list[Any] = [
            {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "RS256"}
            for kid, key in keys.items()
        ]

    async def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        return {"keys": self.keys}


def claims(**changes: object) -> dict[str, object]:
    now = int(time.time())
    good = {"sub": "s", "iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": "n"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(key: Any, kid: str | None = "rsa1", algorithm: str = "RS256", **changes: object) -> str:
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


async def verify(ring: KeyRing, token: str) -> Mapping[str, Any]:
    return await ring.verify(token, issuer=ISSUER, client_id=CLIENT, nonce="n")


async def test_a_good_token(key: RSAPrivateKey) -> None:
    issuer = Issuer(rsa1=key)
    ring = KeyRing(issuer)
    for _ in range(3):
        assert (await verify(ring, sign(key)))["sub"] == "s"
    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": ISSUER[:-1]}, "wrong_issuer"),
        ({"iss": "https://evil.example/"}, "wrong_issuer"),
        ({"aud": "another"}, "wrong_audience"),
        ({"aud": [CLIENT, "another"]}, "wrong_audience"),
        ({"azp": "another"}, "wrong_audience"),
        ({"exp": 1}, "expired"),
        ({"nonce": "m"}, "wrong_nonce"),
        ({"nonce": None}, "wrong_nonce"),
        ({"nonce": ["n"]}, "wrong_nonce"),
        ({"sub": None}, "missing_claim"),
        ({"exp": None}, "missing_claim"),
        ({"aud": None}, "missing_claim"),
        ({"iss": None}, "missing_claim"),
        ({"iat": int(time.time()) + 10_000}, "malformed"),
    ],
)
async def test_a_token_that_is_not_for_this_login(
    key: RSAPrivateKey, changes: dict[str, object], code: str
) -> None:
    issuer = Issuer(rsa1=key)
    with pytest.raises(IdTokenError) as caught:
        await verify(KeyRing(issuer), sign(key, **changes))
    assert caught.value.code == code
    assert issuer.asked == 1


async def test_a_token_for_two_that_names_us(key: RSAPrivateKey) -> None:
    token = sign(key, aud=[CLIENT, "another"], azp=CLIENT)
    assert await verify(KeyRing(Issuer(rsa1=key)), token)


async def test_only_rs256(key: RSAPrivateKey) -> None:
    ring = KeyRing(Issuer(rsa1=key))
    secret = "0123456789abcdef0123456789abcdef"
    unsigned = jwt.encode(claims(), None, algorithm="none", headers={"kid": "rsa1"})
    for token in (unsigned, sign(secret, algorithm="HS256"), sign(key, algorithm="RS512")):
        with pytest.raises(IdTokenError) as caught:
            await verify(ring, token)
        assert caught.value.code == "wrong_algorithm"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ey.ey.ey", "\x00", "ä.ö.ü"])
async def test_what_is_no_token(key: RSAPrivateKey, token: str) -> None:
    with pytest.raises(IdTokenError) as caught:
        await verify(KeyRing(Issuer(rsa1=key)), token)
    assert caught.value.code == "malformed"


async def test_a_forged_signature(key: RSAPrivateKey, other: RSAPrivateKey) -> None:
    with pytest.raises(IdTokenError) as caught:
        await verify(KeyRing(Issuer(rsa1=key)), sign(other))
    assert caught.value.code == "bad_signature"


@pytest.mark.parametrize("kid", ["rsa1", "rsa2"])
async def test_rotated_keys_are_asked_for(
    key: RSAPrivateKey, other: RSAPrivateKey, kid: str
) -> None:
    issuer = Issuer(rsa1=key)
    ring = KeyRing(issuer)
    await verify(ring, sign(key))
    issuer.publish(**{kid: other})
    assert await verify(ring, sign(other, kid=kid))
    assert issuer.asked == 2
    with pytest.raises(IdTokenError):
        await verify(ring, sign(key, kid="rsa0"))


async def test_keys_are_asked_for_again_after_hours(
    key: RSAPrivateKey, other: RSAPrivateKey
) -> None:
    now = 0.0
    issuer = Issuer(rsa1=key)
    ring = KeyRing(issuer, clock=lambda: now)
    await verify(ring, sign(key))
    issuer.publish(rsa2=other)
    now = 7 * 3600
    with pytest.raises(IdTokenError):
        await verify(ring, sign(key))


async def test_a_token_without_kid_when_there_is_one_key(
    key: RSAPrivateKey, other: RSAPrivateKey
) -> None:
    assert await verify(KeyRing(Issuer(rsa1=key)), sign(key, kid=None))
    with pytest.raises(IdTokenError):
        await verify(KeyRing(Issuer(rsa1=key, rsa2=other)), sign(key, kid=None))


async def test_keys_that_are_none_do_not_hide_the_good_one(key: RSAPrivateKey) -> None:
    issuer = Issuer(rsa1=key)
    issuer.keys += [
        3,
        {},
        {"kty": "EC", "kid": "ec"},
        {"kty": "RSA", "kid": "rsa9"},
        {"kty": "RSA", "kid": "rsa8", "n": "%%%", "e": 3},
        {"kty": "oct", "kid": "rsa1", "k": "c2VjcmV0"},
    ]
    assert await verify(KeyRing(issuer), sign(key))


async def test_no_error_quotes_the_token(key: RSAPrivateKey, other: RSAPrivateKey) -> None:
    ring = KeyRing(Issuer(rsa1=key))
    for token in (sign(other), sign(key, exp=1), sign(key)[:-9], "a.b.c"):
        with pytest.raises(IdTokenError) as caught:
            await verify(ring, token)
        assert token not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
