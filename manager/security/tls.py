"""The manager's own CA and server certificate: ECDSA P-256, files 0600 under `tls/`, renewed well
before they end.

Agents and people pin the CA: `ca_pin` is the SHA-256, in hex, of its DER form. The CA stays for ten
years; the server certificate lasts 90 days and is made again when 30 are left or when the manager
is to be reached by another name.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetctl.core.model.errors import UsageError
from fleetctl.durable import write_whole

CA_DAYS, SERVER_DAYS, RENEW_DAYS = 3650, 90, 30


@dataclass(frozen=True)
class TlsIdentity:
    """Files for the server, the CA to hand out, and its pin."""

    cert_file: Path
    key_file: Path
    ca_pem: bytes
    ca_pin: str


def ensure_identity(data_dir: Path, names: Sequence[str], *, now: datetime) -> TlsIdentity:
    """The manager's own identity for `names` (host names and addresses), made or renewed when
    needed.
    """
    folder = data_dir / "tls"
    folder.mkdir(mode=0o700, exist_ok=True)
    ca, ca_key = _load_ca(folder) or _make_ca(folder, now)
    cert_file, key_file = folder / "server.pem", folder / "server.key"
    pair = _load_pair(cert_file, key_file)
    if pair is None or not _still_good(pair[0], ca, names, now):
        _make_server(cert_file, key_file, ca, ca_key, (names, now))
    pem = ca.public_bytes(serialization.Encoding.PEM)
    return TlsIdentity(cert_file, key_file, pem, pin(ca))


def load_identity(cert_file: Path, key_file: Path) -> TlsIdentity:
    """Certificates that an administrator gives: the last one of the file is what people pin. Raises
    UsageError.
    """
    try:
        chain = x509.load_pem_x509_certificates(cert_file.read_bytes())
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{cert_file} and {key_file} are not a certificate and its key: {error}",
            subject="--tls-cert",
            next_step="Give a PEM chain, server certificate first, and its PEM key.",
        ) from error
    pem = chain[-1].public_bytes(serialization.Encoding.PEM)
    return TlsIdentity(cert_file, key_file, pem, pin(chain[-1]))


def pin(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _load_ca(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """None when there is no CA certificate yet. One without its key is an error: agents and people
    have pinned it.
    """
    cert_file, key_file = folder / "ca.pem", folder / "ca.key"
    pair = _load_pair(cert_file, key_file)
    if pair is None and cert_file.exists():
        relation = "does not belong to" if key_file.exists() else "is missing next to"
        step = f"Restore both files from the backup of {folder.parent} (docs/operations.md)."
        raise UsageError(
            f"{key_file} {relation} {cert_file}", subject=str(key_file), next_step=step
        )
    return pair


def _load_pair(
    cert_file: Path, key_file: Path
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """A broken file is an error, not a reason for a new CA: everybody who pinned the old one would
    be cut off.
    """
    try:
        cert = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{cert_file} or its key cannot be read",
            subject=str(cert_file),
            next_step="Restore it from a backup.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != cert.public_key():
        return None
    return cert, key


def _still_good(
    cert: x509.Certificate, ca: x509.Certificate, names: Sequence[str], now: datetime
) -> bool:
    if cert.issuer != ca.subject or cert.not_valid_after_utc - now < timedelta(days=RENEW_DAYS):
        return False
    names_in_certificate = cert.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    return set(_alt_names(names)) <= set(names_in_certificate)


def _make_ca(folder: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    mark = hashlib.sha256(_spki(key)).hexdigest()[:8]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fleet-manager CA {mark}")])
    builder = _builder(name, name, key, key, (now, CA_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign=False, ca=True), critical=True)
    cert = builder.sign(key, hashes.SHA256())
    _write_pair(folder / "ca.pem", folder / "ca.key", cert, key)
    return cert, key


def _make_server(
    cert_file: Path,
    key_file: Path,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    wish: tuple[Sequence[str], datetime],
) -> None:
    names, now = wish
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet-manager")])
    builder = _builder(subject, ca.subject, key, ca_key, (now, SERVER_DAYS))
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(_usage(sign=True, ca=False), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(_alt_names(names)), critical=False)
    _write_pair(cert_file, key_file, builder.sign(ca_key, hashes.SHA256()), key, chain=ca)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: tuple[datetime, int],
) -> x509.CertificateBuilder:
    """What both certificates share. Python 3.13 and later demand the authority key identifier."""
    now, days = life
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=24))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _usage(*, sign: bool, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, ca, ca, False, False)


def _alt_names(names: Sequence[str]) -> list[x509.GeneralName]:
    pair: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            pair.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            pair.append(x509.DNSName(name.lower()))
    return pair


def _write_pair(
    cert_file: Path,
    key_file: Path,
    cert: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    chain: x509.Certificate | None = None,
) -> None:
    plain = serialization.NoEncryption()
    write_whole(
        key_file,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
    )
    certs = [cert] + ([chain] if chain else [])
    write_whole(cert_file, b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certs))


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def today() -> datetime:
    return datetime.now(UTC)
