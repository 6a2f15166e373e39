"""Encrypted calls against a service that opens them with a key of its own."""

import json
from collections.abc import Iterator

import aiohttp
import pytest

from domain.errors import Denied
from domain.verdicts import Delivery, Provider, Risk
from emulators.tencent_decryption import AES, SM4, Decryption
from tasks.providers.credentials import Keys, fixed_keys
from tasks.providers.tencent.client import TencentDetector
from tasks.providers.tencent.encryption import body_cipher
from tests.contract.emulator_clients import netloc, send, tencent_code, tencent_headers
from tests.contract.emulator_process import RunningEmulators, running_emulators
from tests.contract.test_provider_clients import picture

KEYS = Keys("AKIDEXAMPLE", "EXAMPLE-secret-key-not-real")
BOTH = pytest.mark.parametrize("algorithm", [AES, SM4])


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEmulators]:
    with running_emulators() as emulators:
        yield emulators


@pytest.fixture
def emulators(running: RunningEmulators) -> RunningEmulators:
    running.reset()
    return running


@pytest.mark.anyio
@BOTH
async def test_an_encrypted_face_is_judged_like_a_plain_one(
    emulators: RunningEmulators, algorithm: str
) -> None:
    public_key = emulators.control("tencent", "GET", "public_keys")[algorithm]
    media = picture("swap")
    async with aiohttp.ClientSession() as session:
        detector = TencentDetector(
            session,
            fixed_keys(Provider.TENCENT, KEYS),
            emulators.tencent_url,
            cipher=body_cipher(algorithm, public_key),
        )
        request = detector.compose(media)
        answer = await detector.ask(request)

    (call,) = emulators.calls("tencent")
    assert request.delivery is Delivery.ENCRYPTED
    assert answer.risk is Risk.HIGH
    assert call["delivery"] == "encrypted"
    assert call["media_sha256"] == media.sent_sha256


@pytest.mark.anyio
@BOTH
async def test_a_key_of_somebody_else_ends_the_run_and_blames_no_object(
    emulators: RunningEmulators, algorithm: str
) -> None:
    foreign = Decryption().public_keys()[algorithm]
    async with aiohttp.ClientSession() as session:
        detector = TencentDetector(
            session,
            fixed_keys(Provider.TENCENT, KEYS),
            emulators.tencent_url,
            cipher=body_cipher(algorithm, foreign),
        )
        with pytest.raises(Denied, match="public_key") as denied:
            await detector.ask(detector.compose(picture()))

    assert denied.value.code == "FailedOperation.DecryptSystemError"
    assert not emulators.summary("tencent")["billed"]


@BOTH
@pytest.mark.parametrize("wrong", ["Iv", "CiphertextBlob", "TagList", "EncryptList", "Algorithm", "body"])
def test_the_service_opens_nothing_that_is_wrong_in_one_field(
    emulators: RunningEmulators, algorithm: str, wrong: str
) -> None:
    public_key = emulators.control("tencent", "GET", "public_keys")[algorithm]
    plain = json.dumps({"FaceInput": "AAAA", "FaceInputType": 1}).encode()
    body = json.loads(body_cipher(algorithm, public_key).encrypt(plain))
    other = json.loads(body_cipher(algorithm, public_key).encrypt(plain + b" " * 40))
    if wrong == "body":
        body["EncryptedBody"] = other["EncryptedBody"]
    elif wrong == "TagList":
        body["Encryption"][wrong] = ["AAAA"]
    elif wrong == "EncryptList":
        body["Encryption"][wrong] = ["EncryptedBody"]
    elif wrong == "Algorithm":
        body["Encryption"][wrong] = "AES-128-ECB"
    else:
        body["Encryption"][wrong] = other["Encryption"][wrong]
    if wrong == "Iv" and algorithm == AES:  # another IV of CBC spoils the first block only, which is JSON
        assert plain.startswith(b'{"FaceInput')
    sent = json.dumps(body).encode()

    _, reply = send(
        netloc(emulators, "tencent"), "/", tencent_headers(netloc(emulators, "tencent"), sent), sent
    )

    assert tencent_code(reply) == "FailedOperation.DecryptSystemError"
