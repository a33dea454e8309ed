"""The cluster's certificates and keys, made anew for each cluster."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster import addresses

LIFETIME = timedelta(days=30)
SERVICE_ACCOUNTS = "service-accounts"
"""The key pair that signs the service accounts' tokens."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate says of its holder."""

    file: str
    """The name of its files, ``.crt`` and ``.key``."""
    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Names and addresses; one that has some is a server's certificate too."""
    signer: str = "ca"


IDENTITIES = (
    Identity(
        "apiserver",
        "kube-apiserver",
        hosts=(
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{addresses.DOMAIN}",
            "127.0.0.1",
            addresses.NODE,
            addresses.API_SERVICE,
        ),
    ),
    Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", ("system:masters",)),
    Identity("front-proxy", "front-proxy-client", signer="front-proxy-ca"),
    Identity("admin", "kubernetes-admin", ("system:masters",)),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy", ("system:node-proxier",)),
    Identity(
        "kubelet",
        f"system:node:{addresses.NODE_NAME}",
        ("system:nodes",),
        hosts=(addresses.NODE_NAME, addresses.NODE),
    ),
)


def write(folder: Path) -> None:
    """Make everything in ``folder``, readable by its owner only."""
    folder.mkdir(mode=0o700)
    signers = {name: _authority(folder, name) for name in ("ca", "front-proxy-ca")}
    for identity in IDENTITIES:
        _issue(folder, identity, *signers[identity.signer])
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / f"{SERVICE_ACCOUNTS}.key", key)
    (folder / f"{SERVICE_ACCOUNTS}.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _authority(folder: Path, name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"arcetri-test-{name}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / name, certificate, key)
    return key, certificate


def _issue(
    folder: Path,
    identity: Identity,
    signer: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, identity.user))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.hosts:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(x509.Name(names), authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if identity.hosts:
        names_of = x509.SubjectAlternativeName([_host(host) for host in identity.hosts])
        builder = builder.add_extension(names_of, critical=False)
    _write(folder / identity.file, builder.sign(signer, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    path.with_suffix(".crt").write_bytes(pem)
    _write_key(path.with_suffix(".key"), key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
