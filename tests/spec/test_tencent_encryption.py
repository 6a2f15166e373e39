"""Whole-body encryption: what leaves is what the provider's helpers would send, and it alone can open it."""

import json
from pathlib import Path
from typing import Any

import pybase64
import pytest

from domain.errors import Unfit, UsageError
from domain.media import PreparedMedia
from domain.objects import MediaKind
from emulators.tencent_decryption import Decryption, NotDecrypted, unwrap
from tasks.providers.tencent.encryption import AES, SM4, AesCipher, Sm4Cipher, body_cipher
from tasks.providers.tencent.wire import MAX_BODY_BYTES, body_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "tencent_crypto.json").read_text())
SDK = json.loads((Path(__file__).parents[1] / "vectors" / "tencent_3_encrypted_body_aes.json").read_text())
KEYS = Decryption(int(VECTORS["sm4_gcm"]["lab_sm2_private_hex"], 16))
BOTH = pytest.mark.parametrize("algorithm", [AES, SM4])


def handed_out(*given: bytes) -> Any:
    """A source of "random" bytes that gives these, each of the length that is asked for."""
    left = list(given)

    def random_bytes(size: int) -> bytes:
        assert len(left[0]) == size
        return left.pop(0)

    return random_bytes


def pem(name: str) -> str:
    return pybase64.b64decode(VECTORS["published_public_keys"][name]).decode()


def media(content: bytes = b"\xff\xd8\xff a face", kind: MediaKind = MediaKind.IMAGE) -> PreparedMedia:
    return PreparedMedia(content, kind, "", "", "untouched")


def test_aes_gives_the_body_of_the_vector() -> None:
    vector = VECTORS["aes_256_cbc"]
    key, iv = vector["key_ascii"].encode(), bytes.fromhex(vector["iv_hex"])
    public = pybase64.b64decode(vector["lab_rsa_public_pem_base64"]).decode()

    body = json.loads(AesCipher(public, handed_out(key, iv)).encrypt(vector["plaintext_utf8"].encode()))

    # RSA's padding is random: what it wraps is checked by unwrapping, below.
    wrapped = body["Encryption"].pop("CiphertextBlob")
    expected = json.loads(json.dumps(vector["request"]))
    assert len(pybase64.b64decode(wrapped)) == len(
        pybase64.b64decode(expected["Encryption"].pop("CiphertextBlob"))
    )
    assert body == expected


def test_the_body_has_the_shape_that_the_official_sdk_sent() -> None:
    vector = VECTORS["aes_256_cbc"]
    key, iv = vector["key_ascii"].encode(), bytes.fromhex(vector["iv_hex"])
    public = pybase64.b64decode(vector["lab_rsa_public_pem_base64"]).decode()

    body = AesCipher(public, handed_out(key, iv)).encrypt(vector["plaintext_utf8"].encode()).decode()

    sent = SDK["wire"]["body_utf8"]
    blobs = [json.loads(each)["Encryption"]["CiphertextBlob"] for each in (body, sent)]
    assert body.replace(blobs[0], blobs[1]) == sent


def test_sm4_gives_the_body_of_the_vector_byte_for_byte() -> None:
    vector = VECTORS["sm4_gcm"]
    key, iv = vector["key_ascii"].encode(), bytes.fromhex(vector["iv_hex"])
    ephemeral = int(vector["lab_sm2_ephemeral_k_hex"], 16)

    cipher = Sm4Cipher(KEYS.public_keys()[SM4], handed_out(key, iv), lambda bits: ephemeral)

    assert json.loads(cipher.encrypt(vector["plaintext_utf8"].encode())) == vector["request"]


def test_the_emulated_provider_unwraps_the_key_of_the_vector() -> None:
    vector = VECTORS["sm4_gcm"]
    wrapped = pybase64.b64decode(vector["request"]["Encryption"]["CiphertextBlob"])

    assert unwrap(wrapped, KEYS.sm2_secret) == vector["key_ascii"].encode()


@BOTH
def test_what_is_encrypted_can_be_opened_by_the_provider_and_by_nobody_else(algorithm: str) -> None:
    plain = body_of(media())
    request = json.loads(body_of(media(), body_cipher(algorithm, KEYS.public_keys()[algorithm])))

    assert request.keys() == {"Encryption", "EncryptedBody"}
    assert KEYS.open(request["Encryption"], request["EncryptedBody"]) == plain
    with pytest.raises(NotDecrypted):
        Decryption().open(request["Encryption"], request["EncryptedBody"])


@BOTH
def test_every_question_has_a_key_of_its_own(algorithm: str) -> None:
    cipher = body_cipher(algorithm, KEYS.public_keys()[algorithm])
    bodies = [json.loads(body_of(media(), cipher)) for _ in range(3)]

    for field in ("CiphertextBlob", "Iv"):
        assert len({body["Encryption"][field] for body in bodies}) == 3
    assert len({body["EncryptedBody"] for body in bodies}) == 3


@pytest.mark.parametrize(
    ("algorithm", "name"), [(AES, "rsa_1024_pkcs1_pem_base64"), (SM4, "sm2_spki_pem_base64")]
)
def test_the_keys_that_the_provider_published_are_taken(algorithm: str, name: str) -> None:
    assert b"EncryptedBody" in body_cipher(algorithm, pem(name)).encrypt(b"{}")


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        (AES, pem("sm2_spki_pem_base64")),
        (SM4, pem("rsa_1024_pkcs1_pem_base64")),
        (AES, "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----"),
        (SM4, "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----"),
        (SM4, KEYS.public_keys()[SM4].replace("V", "W", 1)),
        (AES, ""),
        (SM4, ""),
    ],
)
def test_a_key_that_the_algorithm_cannot_use_is_refused_in_one_sentence(algorithm: str, key: str) -> None:
    with pytest.raises(UsageError, match=r"^public_key is no (RSA|SM2) public key in PEM"):
        body_cipher(algorithm, key)


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    lines = KEYS.public_keys()[SM4].splitlines()
    encoded = bytearray(pybase64.b64decode("".join(lines[1:-1])))
    encoded[-1] ^= 1
    broken = "\n".join([lines[0], pybase64.b64encode(bytes(encoded)).decode(), lines[-1]])

    with pytest.raises(UsageError, match="no SM2 public key"):
        body_cipher(SM4, broken)


@BOTH
def test_the_largest_encrypted_media_stay_within_the_whole_request(algorithm: str) -> None:
    cipher = body_cipher(algorithm, KEYS.public_keys()[algorithm])
    fits, too_much = (
        5_617_000,
        5_620_500,
    )  # TENCENT_ENCRYPTED bounds the base64 at 7,490,000: 5,617,500 of file

    assert len(body_of(media(bytes(fits), MediaKind.VIDEO), cipher)) <= MAX_BODY_BYTES
    with pytest.raises(Unfit, match="too_large"):
        body_of(media(bytes(too_much), MediaKind.VIDEO), cipher)
