"""Certificate authorities for tests, with certificates for servers and clients."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates; its own is in `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.file = folder / f"{name}.crt"
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        own = _builder(self._name, self._name, self._key.public_key(), True)
        self._write(self.file, own.add_extension(usage, True))

    def sign(self, name: str, *more: x509.GeneralName) -> tuple[Path, Path]:
        """Make a certificate with a common name and perhaps others; give its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self._name, key.public_key(), False)
        if more:
            builder = builder.add_extension(x509.SubjectAlternativeName(more), False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        files = self._folder / f"{self.file.stem}-{name}.crt", self._folder / f"{self.file.stem}-{name}.key"
        self._write(files[0], builder.add_extension(authority, False))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _write(self, file: Path, builder: x509.CertificateBuilder) -> None:
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def localhost() -> list[x509.GeneralName]:
    """The names of a server on this host."""
    return [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )
