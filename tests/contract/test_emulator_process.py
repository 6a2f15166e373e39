"""What both emulated detection services do alike: faults, the arrival log, the process."""

import hashlib
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators import accounts, verdicts
from emulators.service import drawn_latency_ms, latency_range
from tests.contract.emulated_media import image
from tests.contract.emulator_clients import (
    PHOTO,
    aliyun_form,
    aliyun_request,
    ask,
    netloc,
    tencent_body,
    tencent_headers,
)
from tests.contract.emulator_process import ROOT, RunningEmulators, running_emulators
from tests.flows.patience import until

PROVIDERS = ("tencent", "aliyun")


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators) -> RunningEmulators:
    process.reset()
    return process


def hand_signed(provider: str, where: str) -> tuple[str, dict[str, str], bytes]:
    """Target, headers and body of a right request."""
    if provider == "tencent":
        return "/", tencent_headers(where, tencent_body()), tencent_body()
    body = aliyun_form()
    return *aliyun_request(where, {"OuterOrderNo": uuid.uuid4().hex}, body), body


# --- faults ---


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("fault", "raised", "billed"),
    [
        ("cut_before_reply", http.client.RemoteDisconnected, False),
        ("answers_lost", http.client.RemoteDisconnected, True),
        ("cut_mid_reply", http.client.IncompleteRead, True),
    ],
)
def test_a_cut_connection_delivers_nothing_whole_and_is_billed_only_when_served(
    emulators: RunningEmulators, provider: str, fault: str, raised: type[Exception], billed: bool
) -> None:
    emulators.script(provider, fault=fault)

    with pytest.raises(raised):
        ask(emulators, provider)

    ask(emulators, provider)
    first, second = emulators.calls(provider)
    assert (first["trouble"], first["delivered"], first["billed"]) == (fault, False, billed)
    assert (second["trouble"], second["delivered"], second["billed"]) == ("", True, True)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("body", ["html", "empty"])
def test_a_broken_way_answers_with_a_status_and_no_json(
    emulators: RunningEmulators, provider: str, body: str
) -> None:
    emulators.script(provider, fault="http_error", http_status=503, body=body)

    response, reply = ask(emulators, provider)

    assert (response.status, response.headers["Content-Type"]) == (503, "text/html")
    assert reply == (b"" if body == "empty" else b"<html><h1>503</h1></html>")
    (call,) = emulators.calls(provider)
    assert (call["code"], call["billed"], call["delivered"]) == ("http_503", False, True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_malformed_reply_is_billed_and_not_json(emulators: RunningEmulators, provider: str) -> None:
    emulators.script(provider, fault="malformed_json")

    response, reply = ask(emulators, provider)

    assert response.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply)
    assert emulators.calls(provider)[0]["billed"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_slow_reply_comes_no_sooner_than_scripted(emulators: RunningEmulators, provider: str) -> None:
    emulators.script(provider, fault="slow", latency_ms=50)

    ask(emulators, provider)

    (call,) = emulators.calls(provider)
    assert call["replied_monotonic"] - call["arrived_monotonic"] >= 0.05


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_rule_meets_the_calls_it_names_and_only_as_often_as_it_says(
    emulators: RunningEmulators, provider: str
) -> None:
    swap, other = image("swap"), image("genuine", grey=90)
    digest = hashlib.sha256(other).hexdigest()
    emulators.script(provider, fault="http_error", label="swap", times=None)
    emulators.script(provider, fault="http_error", media_sha256=digest, after=1, times=2)

    asked = [PHOTO, swap, other, other, PHOTO, other, other, swap, swap]
    met = [ask(emulators, provider, media)[0].status == 502 for media in asked]

    assert met == [False, True, False, True, False, True, False, True, True]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"fault": "no such"}, "no fault 'no such' here"),
        ({"fault": "throttled", "often": 3}, "unknown field often"),
        ({"fault": "code"}, "needs a code"),
        ({"fault": "slow"}, "needs latency_ms"),
    ],
    ids=str,
)
def test_a_wrong_rule_is_refused_with_a_sentence(
    emulators: RunningEmulators, provider: str, rule: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        emulators.script(provider, **rule)


def test_a_fault_of_one_provider_is_unknown_to_the_other(emulators: RunningEmulators) -> None:
    with pytest.raises(ValueError, match="no fault 'result_as_int' here; tencent has"):
        emulators.script("tencent", fault="result_as_int")


# --- verdicts, log and control ---


def test_unmarked_media_are_judged_by_their_hash_the_same_every_time() -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]

    findings = [verdicts.find("", digest) for digest in digests]

    levels = Counter(found.tencent for found in findings if isinstance(found, verdicts.Finding))
    assert sum(levels.values()) == len(digests)
    assert 0.02 < levels["high"] / len(digests) < 0.04
    assert 0.03 < levels["mid"] / len(digests) < 0.05
    assert findings == [verdicts.find("", digest) for digest in digests]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call_is_in_the_log_from_the_first_byte_on(emulators: RunningEmulators, provider: str) -> None:
    where = netloc(emulators, provider)
    target, headers, body = hand_signed(provider, where)
    head = f"POST {target} HTTP/1.1\r\nContent-Length: {len(body)}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    host, port = where.split(":")

    with socket.create_connection((host, int(port)), timeout=30) as connection:
        started = time.time()
        connection.sendall(head.encode() + b"\r\n" + body[:100])
        while not (waiting := emulators.calls(provider)):
            pass
        connection.sendall(body[100:])
        connection.recv(65_536)

    (done,) = emulators.calls(provider)
    assert waiting[0]["code"] == ""
    assert done["code"] in ("Success", "200")
    assert started <= done["arrived_at"] == waiting[0]["arrived_at"] <= time.time()
    assert waiting[0]["replied_monotonic"] == 0.0
    assert done["arrived_monotonic"] <= done["replied_monotonic"] <= time.monotonic()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_arrival_is_stamped_anew_for_each_call_of_one_connection(
    emulators: RunningEmulators, provider: str
) -> None:
    where = netloc(emulators, provider)
    connection = http.client.HTTPConnection(where, timeout=30)
    sent_at = []
    for _ in range(3):
        target, headers, body = hand_signed(provider, where)
        sent_at.append(time.time())
        connection.request("POST", target, body, headers)
        connection.getresponse().read()
    connection.close()

    arrived = [call["arrived_at"] for call in emulators.calls(provider)]
    assert all(sent <= seen for sent, seen in zip(sent_at, arrived, strict=True))


def test_a_client_that_leaves_before_its_body_is_through_is_logged_unserved(
    emulators: RunningEmulators,
) -> None:
    host, port = netloc(emulators, "tencent").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")

    while not (seen := emulators.calls("tencent")) or not seen[0]["code"]:
        pass
    assert (seen[0]["code"], seen[0]["billed"]) == ("incomplete_request", False)


def test_the_log_can_be_read_from_where_it_was_left(emulators: RunningEmulators) -> None:
    for _ in range(3):
        ask(emulators, "tencent")

    assert [call["number"] for call in emulators.calls("tencent", after=1)] == [2, 3]


def test_calls_that_wait_for_their_reply_are_counted_while_they_wait(emulators: RunningEmulators) -> None:
    emulators.settings("tencent", latency_ms="300")
    caller = threading.Thread(target=ask, args=(emulators, "tencent"))
    caller.start()
    until(lambda: emulators.under_way("tencent"), lambda seen: seen["under_way"] == 1)
    caller.join()

    assert emulators.under_way("tencent") == {"arrived": 1, "under_way": 0, "delivered": 1}


def test_reset_brings_back_the_start(emulators: RunningEmulators) -> None:
    emulators.settings("tencent", qps=1, clock_offset_s=10_000)
    emulators.script("tencent", fault="http_error", times=None)
    emulators.account("tencent", key_id=accounts.TENCENT.key_id, secret="changed")
    ask(emulators, "tencent")

    emulators.reset()

    assert emulators.calls("tencent") == []
    assert json.loads(ask(emulators, "tencent")[1])["Response"]["AttackRiskLevel"] == "Low"


def test_a_key_can_be_added_while_the_service_runs(emulators: RunningEmulators) -> None:
    emulators.account("aliyun", key_id=accounts.ALIYUN.key_id, secret="rotated")

    assert json.loads(ask(emulators, "aliyun")[1])["Code"] == "SignatureDoesNotMatch"
    listed = emulators.control("aliyun", "GET", "accounts")["accounts"]
    assert not any("secret" in account for account in listed)


@pytest.mark.parametrize("changes", [{"qps": -1}, {"window": "wide"}, {"latency_ms": "fast"}])
def test_a_wrong_setting_is_refused_and_changes_nothing(
    emulators: RunningEmulators, changes: dict[str, Any]
) -> None:
    before = emulators.settings("tencent")

    with pytest.raises(ValueError, match=r"quota|window|latency"):
        emulators.settings("tencent", **changes)

    assert emulators.settings("tencent") == before


def test_an_unknown_control_endpoint_is_not_found(emulators: RunningEmulators) -> None:
    with pytest.raises(ValueError, match="no GET /_emulator/secrets here"):
        emulators.control("tencent", "GET", "secrets")


# --- the process ---


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emulators", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_help_shows_an_example() -> None:
    shown = run("--help").stdout

    assert "python -m emulators --tencent-port 0 --aliyun-port 0" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--latency-ms", "soon"), "latency is milliseconds such as 20 or 150-800"),
        (("--qps", "-1"), "a quota is 0 (no limit) or more"),
    ],
)
def test_wrong_options_end_the_process_with_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    ended = run(*arguments)

    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_taken_port_ends_the_process_with_a_sentence(emulators: RunningEmulators) -> None:
    taken = str(urlsplit(emulators.tencent_url).port)

    ended = run("--tencent-port", taken, "--aliyun-port", "0")

    assert ended.returncode == 2
    assert ended.stderr.startswith("cannot listen: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_even_with_calls_under_way(
    number: signal.Signals,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "emulators", "--tencent-port", "0", "--aliyun-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        name, url = started.stdout.readline().split()
        started.stdout.readline()
        host, port = urlsplit(url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
            started.send_signal(number)
            _, complaints = started.communicate(timeout=30)

    assert (name, started.returncode, complaints) == ("tencent", 0, "")


@pytest.mark.parametrize("text", ["20", "0", "0.5", "150-800"])
def test_latencies_are_a_number_or_a_range(text: str) -> None:
    low, high = latency_range(text)

    assert 0 <= low <= high


@pytest.mark.parametrize("text", ["", "-1", "800-150", "0-10", "a-b"])
def test_other_latencies_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="latency"):
        latency_range(text)


def test_nine_latencies_of_ten_lie_in_the_range_and_the_others_on_both_sides() -> None:
    source = random.Random(1)

    drawn = [drawn_latency_ms(150, 800, source) for _ in range(10_000)]

    assert 0.04 < sum(latency < 150 for latency in drawn) / len(drawn) < 0.06
    assert 0.04 < sum(latency > 800 for latency in drawn) / len(drawn) < 0.06
    assert drawn_latency_ms(20, 20, source) == 20
