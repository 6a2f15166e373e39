"""Tencent's whole-body encryption: a key of its own for each question, wrapped for the provider's public key.

AES, RSA and SM4 are OpenSSL's, by `cryptography`, which does not offer SM2: that is `gmalg`'s, in Python. It
wraps 16 bytes in 15 to 25 ms and is not constant in time; what is secret in it is used once and forgotten.
Source: document 1007/47180 and the provider's own helpers; equal to the vectors in tests/vectors.
"""

import json
import secrets
from collections.abc import Callable
from typing import Protocol

import pybase64
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from domain.errors import UsageError

AES = "AES-256-CBC"
SM4 = "SM4-GCM"

_GCM_TAG_BYTES = 16
# A SubjectPublicKeyInfo up to its point: id-ecPublicKey on the curve 1.2.156.10197.1.301.
_SM2_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
_SM2_POINT_BYTES = 65

RandomBytes = Callable[[int], bytes]


class BodyCipher(Protocol):
    """Makes an encrypted body of a plain one."""

    def encrypt(self, plain: bytes) -> bytes:
        """The JSON body that carries `plain`, under a key nobody used before."""
        ...


def body_cipher(algorithm: str, public_key_pem: str) -> BodyCipher:
    """The cipher a spec asks for.

    Raises: UsageError: the text is no public key that the algorithm wraps its keys with.
    """
    if algorithm == AES:
        return AesCipher(public_key_pem)
    return Sm4Cipher(public_key_pem)


class AesCipher:
    """AES-256-CBC, its key wrapped by RSA with PKCS#1 v1.5 padding, which is what the provider unwraps."""

    def __init__(self, public_key_pem: str, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        """Raises: UsageError: no RSA public key in PEM."""
        try:
            key = load_pem_public_key(public_key_pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, RSAPublicKey):
            raise UsageError(f"public_key is no RSA public key in PEM, which encryption {AES!r} needs")
        self._public_key, self._random_bytes = key, random_bytes

    def encrypt(self, plain: bytes) -> bytes:
        """See `BodyCipher`."""
        key, iv = self._random_bytes(32), self._random_bytes(16)
        padder = PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
        sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
        return _body(AES, self._public_key.encrypt(key, PKCS1v15()), iv, [], sealed)


class Sm4Cipher:
    """SM4-GCM, its key wrapped by SM2 in the order C1, C3, C2."""

    def __init__(
        self,
        public_key_pem: str,
        random_bytes: RandomBytes = secrets.token_bytes,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        """Raises: UsageError: no SM2 public key in PEM."""
        import gmalg  # noqa: PLC0415 (in Python and seldom needed)

        point = _sm2_point(public_key_pem)
        self._sm2 = gmalg.SM2(pk=point, rnd_fn=random_bits)
        if not self._sm2.verify_pk(point):
            raise _no_sm2_key()
        self._random_bytes = random_bytes

    def encrypt(self, plain: bytes) -> bytes:
        """See `BodyCipher`."""
        key, iv = self._random_bytes(16), self._random_bytes(12)
        encryptor = Cipher(algorithms.SM4(key), modes.GCM(iv, min_tag_length=_GCM_TAG_BYTES)).encryptor()
        sealed = encryptor.update(plain) + encryptor.finalize()
        return _body(SM4, self._sm2.encrypt(key), iv, [encryptor.tag], sealed)


def _body(algorithm: str, wrapped_key: bytes, iv: bytes, tags: list[bytes], sealed: bytes) -> bytes:
    """The request's JSON. `EncryptList` names the field as the provider's helpers do, with a letter more."""
    encryption = {
        "EncryptList": ["EncryptionBody"],
        "CiphertextBlob": _base64(wrapped_key),
        "Iv": _base64(iv),
        "Algorithm": algorithm,
        "TagList": [_base64(tag) for tag in tags],
    }
    head = json.dumps({"Encryption": encryption})[:-1].encode()
    return b"".join((head, b', "EncryptedBody": "', pybase64.b64encode(sealed), b'"}'))


def _base64(content: bytes) -> str:
    return pybase64.b64encode(content).decode("ascii")


def _sm2_point(public_key_pem: str) -> bytes:
    """The uncompressed point of an SM2 key in PEM; `cryptography` knows no such curve."""
    lines = [line.strip() for line in public_key_pem.strip().splitlines()]
    if len(lines) < 3 or "PUBLIC KEY-----" not in lines[0] or "PUBLIC KEY-----" not in lines[-1]:
        raise _no_sm2_key()
    try:
        encoded = pybase64.b64decode("".join(lines[1:-1]), validate=True)
    except ValueError:
        raise _no_sm2_key() from None
    point = encoded.removeprefix(_SM2_SPKI)
    if encoded == point or len(point) != _SM2_POINT_BYTES or point[0] != 4:
        raise _no_sm2_key()
    return point


def _no_sm2_key() -> UsageError:
    return UsageError(f"public_key is no SM2 public key in PEM, which encryption {SM4!r} needs")
