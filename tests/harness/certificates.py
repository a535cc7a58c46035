"""A throw-away certificate, for configurations that must name one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write(directory: Path, names: list[str], key: str, uris: list[str] = ()) -> None:
    """The same self-signed certificate, of these URIs, under each of the names, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"portcullis-tests {key}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if uris:
        names_of = [x509.UniformResourceIdentifier(uri) for uri in uris]
        certificate = certificate.add_extension(x509.SubjectAlternativeName(names_of), critical=False)
    certificate = certificate.sign(private, hashes.SHA256())
    pem = serialization.Encoding.PEM
    for file in names:
        (directory / file).write_bytes(certificate.public_bytes(pem))
    clear = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (directory / key).write_bytes(private.private_bytes(pem, form, clear))
