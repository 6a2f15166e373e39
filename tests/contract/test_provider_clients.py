"""Both clients against services that check every byte of a call, and against lines that break.

What is asserted of the provider's side comes from the emulators' own log.
"""

import asyncio
import hashlib
import io
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import pytest
from PIL import Image

from domain.errors import Denied, ProviderError, Refused, Throttled, Unavailable
from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Delivery, Provider, Risk
from tasks.providers.aliyun.client import AliyunDetector
from tasks.providers.aliyun.signing import canonical_query
from tasks.providers.aliyun.wire import query_parameters
from tasks.providers.credentials import Keys, KeySource, fixed_keys
from tasks.providers.detector import ComposedRequest, Detector, new_order_no
from tasks.providers.endpoints import Endpoint
from tasks.providers.exchange import MAX_REPLY_BYTES, Timeouts, is_emulated
from tasks.providers.tencent.client import TencentDetector
from tests.contract.emulator_process import RunningEmulators, running_emulators

pytestmark = pytest.mark.anyio

STS_TOKEN = "EXAMPLE-sts-token/with+special=chars~."
LASTING = {
    "tencent": Keys("AKIDEXAMPLE", "EXAMPLE-secret-key-not-real"),
    "aliyun": Keys("LTAIEXAMPLE", "EXAMPLE-access-key-secret-not-real"),
}
TEMPORARY = {
    "tencent": Keys("AKIDEXAMPLESTS", "EXAMPLE-sts-secret-key-not-real", STS_TOKEN),
    "aliyun": Keys("STS.EXAMPLE", "EXAMPLE-sts-access-key-secret-not-real", STS_TOKEN),
}
EXPIRED = {
    "tencent": Keys("AKIDEXAMPLEOLD", "EXAMPLE-old-secret-key-not-real", STS_TOKEN),
    "aliyun": Keys("STS.EXAMPLEOLD", "EXAMPLE-old-access-key-not-real", STS_TOKEN),
}
BOTH = pytest.mark.parametrize("name", ["tencent", "aliyun"])
QUICK = Timeouts(connect_s=2.0, image_s=0.3, video_s=0.3)


def picture(label: str = "", size: tuple[int, int] = (480, 640)) -> PreparedMedia:
    """A JPEG both services accept, with the marker that tells the emulated engines what to find."""
    out = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(
        out, "JPEG", comment=f"facesweep-sample:{label}" if label else "plain"
    )
    content = out.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return PreparedMedia(content, MediaKind.IMAGE, digest, digest, "untouched")


def noise() -> PreparedMedia:
    """A JPEG of random pixels, which cannot be made small."""
    out = io.BytesIO()
    pixels = random.Random(7).randbytes(900 * 1200 * 3)
    Image.frombytes("RGB", (900, 1200), pixels).save(out, "JPEG", quality=95)
    content = out.getvalue()
    return PreparedMedia(content, MediaKind.IMAGE, "", hashlib.sha256(content).hexdigest(), "untouched")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEmulators]:
    with running_emulators() as emulators:
        yield emulators


@pytest.fixture
def emulators(running: RunningEmulators) -> RunningEmulators:
    running.reset()
    return running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def detector_at(
    url: str,
    name: str,
    session: aiohttp.ClientSession,
    keys: Keys | KeySource | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 (frozen)
    clock: Callable[[], float] = time.time,
) -> Detector:
    provider = Provider(name)
    if not isinstance(keys, KeySource):
        keys = fixed_keys(provider, keys or LASTING[name])
    if provider is Provider.TENCENT:
        return TencentDetector(session, keys, url, "ap-guangzhou", timeouts, clock)
    return AliyunDetector(session, keys, [url], timeouts, clock)


async def problem(asking: Awaitable[object]) -> ProviderError:
    """The error that asking ends in."""
    with pytest.raises(ProviderError) as caught:
        await asking
    return caught.value


def order_no() -> str:
    return new_order_no(time.time())


@BOTH
@pytest.mark.parametrize("keys", [LASTING, TEMPORARY], ids=["lasting", "temporary"])
async def test_a_signed_question_is_accepted_and_the_media_arrive_as_they_were(
    name: str, keys: dict[str, Keys], emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = detector_at(emulators.urls[name], name, session, keys[name])
    media, order = picture("swap"), order_no()
    answer = await detector.ask(detector.compose(media), order)
    (call,) = emulators.calls(name)
    assert call["media_sha256"] == media.sent_sha256
    assert call["key_id"] == keys[name].id
    assert call["order_no"] == (order if name == "aliyun" else "")
    assert call["billed"]
    assert answer.risk is Risk.HIGH
    assert "synthesis" in answer.tags
    assert answer.request_id == call["request_id"]
    assert answer.endpoint == emulators.urls[name]
    assert answer.raw


@BOTH
async def test_what_an_emulator_says_can_never_pass_for_a_real_verdict(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = detector_at(emulators.urls[name], name, session)
    assert not detector.simulated
    answer = await detector.ask(detector.compose(picture()), order_no())
    assert answer.simulated
    assert detector.simulated


@BOTH
async def test_an_emulator_is_known_by_a_look_that_is_no_call(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    assert await is_emulated(session, Endpoint.parse(emulators.urls[name])) is True
    assert emulators.calls(name) == []


async def test_where_nobody_answers_it_stays_open_whether_that_is_an_emulator(
    session: aiohttp.ClientSession,
) -> None:
    """A closed port, and one that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert await is_emulated(session, Endpoint.parse(address), patience_s=0.1) is None
    assert await is_emulated(session, Endpoint.parse(address)) is None


@BOTH
async def test_a_question_is_composed_once_and_asked_often(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    """Each attempt has its own nonce, date and order number: none is taken for a replay."""
    detector = detector_at(emulators.urls[name], name, session)
    request = detector.compose(picture())
    await asyncio.gather(*(detector.ask(request, order_no()) for _ in range(50)))
    summary = emulators.summary(name)
    assert summary["billed"] == 50
    assert summary["order_no_reused"] == 0


@BOTH
async def test_media_of_several_megabytes_arrive_whole(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    """Beyond the size of a single write; base64 of random bytes holds every character."""
    media = noise()
    assert len(media.content) > 1_000_000
    detector = detector_at(emulators.urls[name], name, session)
    await detector.ask(detector.compose(media), order_no())
    assert [call["media_sha256"] for call in emulators.calls(name)] == [media.sent_sha256]


async def test_a_face_url_reaches_aliyun_as_it_was(
    emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    """Signed and sent in one escaping: neither yarl nor the service reads it differently."""
    content = picture("swap").content

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
        await writer.drain()
        writer.close()

    asked: list[str] = []
    async with raw_server(serve) as url:
        detector = detector_at(emulators.aliyun_url, "aliyun", session)
        assert isinstance(detector, AliyunDetector)
        face_url = f"{url}/a%20b/~(1)*'!.jpg?Expires=1&Signature=ab%2Bc/d+e==&x=%7E"
        request = detector.compose_url(face_url, MediaKind.IMAGE)
        assert request.delivery is Delivery.URL
        assert face_url not in repr(request)
        answer = await detector.ask(request, order_no())
    assert answer.risk is Risk.HIGH
    assert len(asked) == 1
    (call,) = emulators.calls("aliyun")
    assert call["delivery"] == "url"


@pytest.mark.parametrize("form", ["as it is", "in JSON", "decoded", "encoded"])
@pytest.mark.parametrize("code", ["200", "405", "401", "500", "Forbidden.RAM"])
async def test_invariant_8_a_reply_that_repeats_a_face_url_brings_no_signature_with_it(
    code: str, form: str, session: aiohttp.ClientSession
) -> None:
    signature = "0a1b2c3d%2F4e5f%2B60718293a4b5%3D%3D"
    signed = f"Expires=1&x-oss-security-token=an-sts-token-of-length&Signature={signature}"
    face_url = f"https://kyc.oss.example/a%20b.mp4?{signed}"
    said = {
        "as it is": face_url,
        "in JSON": face_url.replace("/", "\\/").replace("&", "\\u0026"),
        "decoded": unquote(face_url),
        "encoded": quote(face_url, safe=""),
    }[form]
    result = '{"Result":"1"}' if code == "200" else "null"
    reply = f'{{"Code":"{code}","Message":"cannot fetch {said}","RequestId":"r","ResultObject":{result}}}'
    body = reply.encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async with raw_server(serve) as url:
        detector = detector_at(url, "aliyun", session)
        assert isinstance(detector, AliyunDetector)
        request = detector.compose_url(face_url, MediaKind.VIDEO)
        try:
            kept = repr(await detector.ask(request, order_no()))
        except ProviderError as error:
            kept = f"{error!r} {error.args}"

    for secret in ("an-sts-token-of-length", signature, unquote(signature), quote(signature, safe="")):
        assert secret not in kept


@pytest.mark.parametrize("code", ["401", "402"])
async def test_urls_that_cannot_be_fetched_never_end_the_run(
    code: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    """However many in a row: what is wrong is the way to the objects."""
    emulators.script("aliyun", fault="code", code=code, message="no")
    detector = detector_at(emulators.aliyun_url, "aliyun", session)
    assert isinstance(detector, AliyunDetector)
    async with raw_server(lambda _, writer: _closed(writer)) as url:
        request = detector.compose_url(f"{url}/a.jpg", MediaKind.IMAGE)
        for _ in range(15):
            error = await problem(detector.ask(request, order_no()))
            assert not isinstance(error, Denied)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()


@BOTH
@pytest.mark.parametrize("label", ["noface", "covered", "poor"])
async def test_media_without_a_verdict_are_refused_for_good(
    name: str, label: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = detector_at(emulators.urls[name], name, session)
    error = await problem(detector.ask(detector.compose(picture(label)), order_no()))
    assert type(error) is Refused
    assert error.raw
    assert error.endpoint == emulators.urls[name]


@BOTH
async def test_a_full_quota_asks_to_slow_down(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    emulators.script(name, fault="throttled", retry_after_ms=2500)
    detector = detector_at(emulators.urls[name], name, session)
    error = await problem(detector.ask(detector.compose(picture()), order_no()))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == (2.5 if name == "aliyun" else 1.0)


@BOTH
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut_before_reply", "connection"),
        ("cut_mid_reply", "connection"),
        ("answers_lost", "connection"),
        ("malformed_json", "malformed_reply"),
    ],
)
async def test_a_call_whose_reply_was_lost_is_in_doubt(
    name: str, fault: str, code: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    """The whole question had left us: whether it was served, and billed, nobody can tell from here."""
    emulators.script(name, fault=fault)
    detector = detector_at(emulators.urls[name], name, session)
    error = await problem(detector.ask(detector.compose(picture()), order_no()))
    assert isinstance(error, Unavailable)
    assert (error.code, error.in_doubt) == (code, True)
    assert len(emulators.calls(name)) == 1


@BOTH
async def test_a_reply_that_comes_too_late_is_in_doubt(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    emulators.script(name, fault="slow", latency_ms=2000)
    detector = detector_at(emulators.urls[name], name, session, timeouts=QUICK)
    error = await problem(detector.ask(detector.compose(picture()), order_no()))
    assert isinstance(error, Unavailable)
    assert (error.code, error.in_doubt) == ("timeout", True)


@BOTH
@pytest.mark.parametrize("body", ["html", "empty"])
async def test_a_page_instead_of_an_answer_is_asked_again(
    name: str, body: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    emulators.script(name, fault="http_error", http_status=502, body=body)
    detector = detector_at(emulators.urls[name], name, session)
    error = await problem(detector.ask(detector.compose(picture()), order_no()))
    assert isinstance(error, Unavailable)
    assert (error.code, error.in_doubt) == ("http_502", False)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("tencent", {"fault": "null_detail_list"}),
        ("tencent", {"fault": "missing_detail_list"}),
        ("aliyun", {"fault": "odd_risk_score", "form": "json_string"}),
        ("aliyun", {"fault": "odd_risk_score", "form": "keyed_json_string"}),
        ("aliyun", {"fault": "result_as_int"}),
        ("aliyun", {"fault": "missing_risk_tag"}),
    ],
)
async def test_a_reply_of_odd_form_is_still_a_verdict(
    name: str, rule: dict[str, str], emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    emulators.script(name, **rule)
    detector = detector_at(emulators.urls[name], name, session)
    answer = await detector.ask(detector.compose(picture("swap")), order_no())
    assert answer.risk is Risk.HIGH
    if name == "aliyun":
        assert "SuspectDeepForgery" in answer.scores


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("tencent", ["UnauthorizedOperation.Arrears", "UnauthorizedOperation.Nonactivated"]),
        ("aliyun", ["410", "411", "412", "Forbidden.RAM"]),
    ],
)
async def test_an_account_that_may_not_ask_ends_the_run(
    name: str, codes: list[str], emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = detector_at(emulators.urls[name], name, session)
    for code in codes:
        emulators.script(name, fault="code", code=code)
        error = await problem(detector.ask(detector.compose(picture()), order_no()))
        assert type(error) is Denied
        assert error.code == code


@BOTH
async def test_a_wrong_key_ends_the_run_and_shows_no_secret(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    for wrong in (Keys("NOBODY", "a-wrong-secret"), Keys(LASTING[name].id, "a-wrong-secret")):
        detector = detector_at(emulators.urls[name], name, session, wrong)
        error = await problem(detector.ask(detector.compose(picture()), order_no()))
        assert type(error) is Denied
        assert "a-wrong-secret" not in f"{error} {error.args}"
        assert "FaceInputType" not in f"{error} {error.args}"
        assert error.raw == ""


@BOTH
async def test_keys_that_end_during_a_run_are_renewed_without_stopping_it(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    keys = KeySource(Provider(name), lambda anew: TEMPORARY[name] if anew else EXPIRED[name])
    detector = detector_at(emulators.urls[name], name, session, keys)
    request = detector.compose(picture())
    error = await problem(detector.ask(request, order_no()))
    assert isinstance(error, Unavailable)
    assert not error.in_doubt
    assert (await detector.ask(request, order_no())).risk


@BOTH
async def test_a_clock_that_is_an_hour_off_is_set_by_the_providers(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = detector_at(emulators.urls[name], name, session, clock=lambda: time.time() - 3600)
    request = detector.compose(picture())
    assert isinstance(await problem(detector.ask(request, order_no())), Unavailable)
    for _ in range(3):
        assert (await detector.ask(request, order_no())).risk


@BOTH
async def test_a_probe_of_a_good_account_is_ready_and_bills_nothing(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    probe = await detector_at(emulators.urls[name], name, session, TEMPORARY[name]).probe()
    assert (probe.reachable, probe.key_accepted, probe.ready) == (True, True, True)
    assert probe.clock_skew_s is not None
    assert abs(probe.clock_skew_s) < 30
    assert emulators.summary(name)["billed"] == 0


@BOTH
async def test_a_probe_tells_a_wrong_key_a_wrong_clock_and_a_dead_line_apart(
    name: str, emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    url = emulators.urls[name]
    wrong_key = await detector_at(url, name, session, Keys("NOBODY", "a-wrong-secret")).probe()
    assert (wrong_key.reachable, wrong_key.key_accepted, wrong_key.ready) == (True, False, False)
    late = await detector_at(url, name, session, clock=lambda: time.time() - 3600).probe()
    assert (late.reachable, late.key_accepted, late.ready) == (True, None, False)
    assert late.clock_skew_s == pytest.approx(-3600, abs=30)
    dead = await detector_at(f"http://127.0.0.1:{closed_port()}", name, session).probe()
    assert (dead.reachable, dead.key_accepted, dead.ready) == (False, None, False)

    def nothing(anew: bool) -> Keys:
        raise LookupError

    keyless = await detector_at(url, name, session, KeySource(Provider(name), nothing)).probe()
    assert (keyless.reachable, keyless.key_accepted, keyless.ready) == (None, None, False)
    assert "no keys" in keyless.sentence


async def test_a_broken_aliyun_endpoint_is_left_for_the_next_and_tried_again_later(
    emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    passed_s = 0.0
    dead = f"http://127.0.0.1:{closed_port()}"
    detector = AliyunDetector(
        session,
        fixed_keys(Provider.ALIYUN, LASTING["aliyun"]),
        [dead, emulators.aliyun_url],
        clock=lambda: time.time() + passed_s,
    )
    request = detector.compose(picture())
    error = await problem(detector.ask(request, order_no()))
    assert error.endpoint == dead
    answer = await detector.ask(request, order_no())
    assert answer.endpoint == emulators.aliyun_url
    passed_s = 301.0
    assert (await problem(detector.ask(request, order_no()))).endpoint == dead


async def test_a_reply_that_only_this_call_caused_does_not_cost_the_endpoint(
    emulators: RunningEmulators, session: aiohttp.ClientSession
) -> None:
    detector = AliyunDetector(
        session,
        fixed_keys(Provider.ALIYUN, LASTING["aliyun"]),
        [emulators.aliyun_url, f"http://127.0.0.1:{closed_port()}"],
    )
    request = detector.compose(picture())
    for rule in ({"fault": "code", "code": "SignatureNonceUsed"}, {"fault": "code", "code": "402"}):
        emulators.script("aliyun", **rule)
        assert isinstance(await problem(detector.ask(request, order_no())), Unavailable)
        assert (await detector.ask(request, order_no())).endpoint == emulators.aliyun_url


# Lines that break where no service can break them.


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def asked_of(
    url: str, session: aiohttp.ClientSession, request: ComposedRequest | None = None
) -> Unavailable:
    detector = detector_at(url, "aliyun", session, timeouts=QUICK)
    error = await problem(detector.ask(request or detector.compose(picture()), order_no()))
    assert isinstance(error, Unavailable)
    return error


@pytest.mark.parametrize(
    ("url", "code"),
    [("https://nowhere.invalid", "dns"), ("http://127.0.0.1:{closed}", "connection")],
)
async def test_no_connection_is_no_doubt(url: str, code: str, session: aiohttp.ClientSession) -> None:
    error = await asked_of(url.format(closed=closed_port()), session)
    assert (error.code, error.in_doubt) == (code, False)


async def test_a_connection_that_nobody_accepts_is_no_doubt(session: aiohttp.ClientSession) -> None:
    """The kernel of a busy host drops what its backlog cannot hold."""
    impatient = Timeouts(connect_s=0.1, image_s=5.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        held = [socket.socket() for _ in range(3)]
        for filling in held:
            filling.setblocking(False)
            filling.connect_ex(address)
        detector = detector_at(f"http://127.0.0.1:{address[1]}", "aliyun", session, timeouts=impatient)
        error = await problem(detector.ask(detector.compose(picture()), order_no()))
        for filling in held:
            filling.close()
    assert isinstance(error, Unavailable)
    assert (error.code, error.in_doubt) == ("connect_timeout", False)


async def test_a_netrc_entry_that_would_replace_our_signature_ends_the_run(
    emulators: RunningEmulators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again would meet the same file; no call leaves with another's Authorization."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password do-not-show-this\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with aiohttp.ClientSession(trust_env=True) as trusting:
        detector = detector_at(emulators.tencent_url, "tencent", trusting)
        error = await problem(detector.ask(detector.compose(picture()), order_no()))
    assert type(error) is Denied
    assert ".netrc" in error.message
    assert emulators.calls("tencent") == []


async def test_a_proxy_that_refuses_is_no_doubt() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with raw_server(refuse) as proxy, aiohttp.ClientSession(proxy=proxy) as session:
        error = await asked_of("https://cloudauth.example", session)
    assert (error.code, error.in_doubt) == ("proxy", False)


async def test_no_tls_is_no_doubt(session: aiohttp.ClientSession) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with raw_server(serve) as url:
        error = await asked_of(url.replace("http://", "https://"), session)
    assert (error.code, error.in_doubt) == ("tls", False)


async def test_a_question_of_which_a_part_never_left_is_no_doubt(session: aiohttp.ClientSession) -> None:
    """Cut, or too slow, before the last byte: the service cannot have read it, so cannot bill it."""
    large = PreparedMedia(bytes(20_000_000), MediaKind.IMAGE, "", "", "untouched")

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        await ended.wait()
        writer.close()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.transport.abort()

    ended = asyncio.Event()
    for serve, code in ((hang, "timeout"), (cut, "connection")):
        async with raw_server(serve) as url:
            request = detector_at(url, "aliyun", session).compose(large)
            error = await asked_of(url, session, request)
            ended.set()
        assert (error.code, error.in_doubt) == (code, False)


async def test_a_query_leaves_in_the_very_escaping_that_was_signed(session: aiohttp.ClientSession) -> None:
    """A service need not decode and encode it again to find our signature right."""
    targets: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
        writer.close()

    face_url = "https://h/a b/人~(1)*'!?x=%7E+&y"
    async with raw_server(note) as url:
        detector = AliyunDetector(session, fixed_keys(Provider.ALIYUN, LASTING["aliyun"]), [url])
        await problem(detector.ask(detector.compose_url(face_url, MediaKind.VIDEO), "fs1"))
    query = canonical_query(query_parameters(MediaKind.VIDEO, "fs1", face_url))
    assert targets == [f"/?{query}"]


async def test_a_question_without_a_body_is_in_doubt_once_it_has_left(session: aiohttp.ClientSession) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with raw_server(cut) as url:
        detector = detector_at(url, "aliyun", session)
        assert isinstance(detector, AliyunDetector)
        secret = "https://oss.example.com/a.jpg?Signature=do-not-show-this"
        error = await asked_of(url, session, detector.compose_url(secret, MediaKind.IMAGE))
    assert (error.code, error.in_doubt) == ("connection", True)
    assert "do-not-show" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"


@pytest.mark.parametrize(
    ("reply", "code", "in_doubt"),
    [
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            "http_302",
            False,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_REPLY_BYTES + 1), "oversized_reply", True),
        (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", "malformed_reply", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd", "malformed_reply", True),
    ],
    ids=["redirect", "oversized", "not HTTP", "not text"],
)
async def test_replies_of_other_machines_are_told_apart(
    reply: bytes, code: str, in_doubt: bool, session: aiohttp.ClientSession
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length)
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with raw_server(serve) as url:
        error = await asked_of(url, session)
    assert (error.code, error.in_doubt) == (code, in_doubt)
