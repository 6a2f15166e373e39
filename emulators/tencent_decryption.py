"""The provider's side of Tencent's whole-body encryption: key pairs, and what opens an encrypted body.

Written from the documents, without the product's code or its library for SM2: the curve's arithmetic stands
here. The keys are made anew in each process; `GET /_emulator/public_keys` tells the public ones.
"""

import secrets
from functools import cached_property
from typing import Any

import pybase64
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

FIELDS = {"Algorithm", "EncryptList", "CiphertextBlob", "Iv", "TagList"}
AES, SM4 = "AES-256-CBC", "SM4-GCM"

# The recommended curve of GM/T 0003.5: y^2 = x^3 - 3x + B over P, generator G of order N.
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")

Point = tuple[int, int]


class NotDecrypted(ValueError):
    """The body cannot be opened; the sentence holds nothing of it."""


class Decryption:
    """The key pairs of one emulated service."""

    def __init__(self, sm2_secret: int | None = None) -> None:
        self.sm2_secret = sm2_secret or secrets.randbelow(N - 2) + 1

    @cached_property
    def _rsa(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 1024)  # noqa: S505 (what the provider has)

    def public_keys(self) -> dict[str, str]:
        """Both public keys in PEM, in the two shapes the provider gives: PKCS#1 for RSA, SPKI for SM2."""
        pem = self._rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
        )
        x, y = _times(self.sm2_secret, G)
        encoded = pybase64.b64encode(_SPKI + b"\x04" + _bytes(x) + _bytes(y)).decode()
        lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
        sm2 = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
        return {AES: pem.decode(), SM4: sm2}

    def open(self, encryption: dict[str, Any], body: str) -> bytes:
        """The plain body. Raises NotDecrypted."""
        algorithm = encryption.get("Algorithm", AES)
        if set(encryption) - FIELDS:
            raise NotDecrypted("an unknown field in Encryption")
        if encryption.get("EncryptList") != ["EncryptionBody"]:
            raise NotDecrypted("EncryptList must be EncryptionBody")
        wrapped, iv = _base64(encryption.get("CiphertextBlob")), _base64(encryption.get("Iv"))
        tags = encryption.get("TagList", [])
        sealed = _base64(body)
        if algorithm == AES:
            return self._open_aes(wrapped, iv, tags, sealed)
        if algorithm == SM4:
            return self._open_sm4(wrapped, iv, tags, sealed)
        raise NotDecrypted("an unknown algorithm")

    def _open_aes(self, wrapped: bytes, iv: bytes, tags: Any, sealed: bytes) -> bytes:
        if tags:
            raise NotDecrypted("AES-256-CBC has no tag")
        try:
            key = self._rsa.decrypt(wrapped, rsa_padding.PKCS1v15())
            decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
            unpadder = PKCS7(128).unpadder()
            padded = decryptor.update(sealed) + decryptor.finalize()
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            raise NotDecrypted("the body does not open with this key") from None

    def _open_sm4(self, wrapped: bytes, iv: bytes, tags: Any, sealed: bytes) -> bytes:
        if not isinstance(tags, list) or len(tags) != 1:
            raise NotDecrypted("SM4-GCM has one tag")
        tag = _base64(tags[0])
        if len(iv) != 12 or len(tag) != 16:
            raise NotDecrypted("SM4-GCM has 12 bytes of IV and 16 of tag")
        try:
            key = unwrap(wrapped, self.sm2_secret)
            decryptor = Cipher(algorithms.SM4(key), modes.GCM(iv, tag)).decryptor()
            return decryptor.update(sealed) + decryptor.finalize()
        except (ValueError, InvalidTag):
            raise NotDecrypted("the body does not open with this key") from None


def unwrap(wrapped: bytes, secret: int) -> bytes:
    """SM2 decryption of C1 (04, x, y), C3 (32 bytes), C2. Raises NotDecrypted."""
    x, y = int.from_bytes(wrapped[1:33]), int.from_bytes(wrapped[33:65])
    if wrapped[:1] != b"\x04" or len(wrapped) < 98 or (y * y - x**3 + 3 * x - B) % P:
        raise NotDecrypted("CiphertextBlob does not begin with a point of the curve")
    shared_x, shared_y = (_bytes(each) for each in _times(secret, (x, y)))
    check, sealed = wrapped[65:97], wrapped[97:]
    stream = b"".join(
        _sm3(shared_x + shared_y + count.to_bytes(4)) for count in range(1, 2 + len(sealed) // 32)
    )
    plain = bytes(each ^ mask for each, mask in zip(sealed, stream, strict=False))
    if _sm3(shared_x + plain + shared_y) != check:
        raise NotDecrypted("CiphertextBlob is not for this key")
    return plain


def _times(factor: int, point: Point) -> Point:
    """`factor` times the point, by doubling and adding; factor in 1 … N-1."""
    total: Point | None = None
    for bit in f"{factor:b}":
        total = total and _add(total, total)
        if bit == "1":
            total = _add(total, point) if total else point
    assert total is not None  # noqa: S101 (the first bit is 1)
    return total


def _add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def _sm3(content: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(content)
    return digest.finalize()


def _bytes(number: int) -> bytes:
    return number.to_bytes(32)


def _base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise NotDecrypted("a field of Encryption is missing or no string")
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        raise NotDecrypted("a field is not standard base64") from None
