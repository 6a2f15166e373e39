"""Media with a C2PA manifest, signed by a key made for the test."""

import functools
import io
from datetime import UTC, datetime, timedelta

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_MIME_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}
_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@functools.cache
def _signer_files() -> tuple[bytes, bytes]:
    """A certificate chain in PEM, leaf first, and the leaf's key."""
    begin, end = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=30)

    def certificate(
        name: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, is_root: bool
    ) -> x509.Certificate:
        def named(common: str) -> x509.Name:
            return x509.Name(
                [
                    x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
                    x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "a test"),
                    x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
                ]
            )

        usage = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
        )
        if not is_root:
            purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(by, hashes.SHA256())

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = (
        certificate("a leaf", "a root", leaf, root, is_root=False),
        certificate("a root", "a root", root, root, is_root=True),
    )
    pem = serialization.Encoding.PEM
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(each.public_bytes(pem) for each in chain), key


def signed(content: bytes, kind: str) -> bytes:
    """The picture with a manifest that says a machine made it."""
    certificates, key = _signer_files()
    manifest = {
        "claim_generator_info": [{"name": "a test", "version": "1"}],
        "format": _MIME_TYPES[kind],
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": _GENERATED}]},
            }
        ],
    }
    out = io.BytesIO()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, certificates, key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest) as builder:
        builder.sign(signer, _MIME_TYPES[kind], io.BytesIO(content), out)
    return out.getvalue()
