"""The signing key: made, shown to clients, and used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import RSAAlgorithm

from arcetri_hub.devidp.models import SigningKey

ALGORITHM: Final = "RS256"
_BITS: Final = 2048


def make_key(kid: str) -> SigningKey:
    """Make a new RSA key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(kid=kid, pem=pem.decode("ascii"))


def public_jwks(key: SigningKey) -> dict[str, Any]:
    """What ``/jwk`` answers: the public half of the one key."""
    private = load_pem_private_key(key.pem.encode("ascii"), password=None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise TypeError("the signing key is not an RSA key")
    public = json.loads(RSAAlgorithm.to_jwk(private.public_key()))
    return {
        "keys": [
            {
                "kty": "RSA",
                "e": public["e"],
                "n": public["n"],
                "kid": key.kid,
                "alg": ALGORITHM,
                "use": "sig",
            }
        ]
    }


def sign(key: SigningKey, claims: Mapping[str, Any]) -> str:
    """Return a signed JWT with the key's ``kid`` in its header and no ``typ``, as IAM's are."""
    headers = {"kid": key.kid, "typ": None}
    return jwt.encode(dict(claims), key.pem, algorithm=ALGORITHM, headers=headers)


def read_signed(key: SigningKey, token: str, issuer: str) -> dict[str, Any] | None:
    """The claims of a JWT that ``sign`` made for one client, however old; None for another."""
    public = jwt.PyJWK(public_jwks(key)["keys"][0])
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            public,
            algorithms=[ALGORITHM],
            issuer=issuer,
            options={"verify_exp": False, "verify_aud": False, "require": ["aud", "sub"]},
        )
    except jwt.PyJWTError:
        return None
    return claims if isinstance(claims["aud"], str) else None
