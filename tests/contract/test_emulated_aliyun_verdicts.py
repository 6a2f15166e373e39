"""The emulated Aliyun engine: media limits, FaceUrl, verdicts, scripted codes and shapes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.emulated_media import image, served, video
from tests.contract.emulator_clients import PHOTO, aliyun_reply, ask, ask_aliyun
from tests.contract.emulator_process import RunningEmulators, running_emulators


def as_3gp(mp4: bytes) -> bytes:
    """The same video under the brand of another format of the family."""
    return mp4[:8] + b"3gp4" + mp4[12:]


def turned(jpeg: bytes) -> bytes:
    """The same picture with EXIF orientation 6."""
    tag = b"\x01\x12" + (3).to_bytes(2) + (1).to_bytes(4) + (6).to_bytes(2) + bytes(2)
    exif = b"Exif\0\0MM\0*" + (8).to_bytes(4) + (1).to_bytes(2) + tag + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + jpeg[2:]


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators) -> RunningEmulators:
    process.reset()
    return process


def test_media_behind_a_url_are_fetched_and_judged_like_others(
    emulators: RunningEmulators,
) -> None:
    with served({"/a.jpg": image("swap"), "/b.png": image(kind="PNG")}) as url:
        high = ask_aliyun(emulators, face_url=f"{url}/a.jpg")
        wrong = ask_aliyun(emulators, face_url=f"{url}/b.png")
        absent = ask_aliyun(emulators, face_url=f"{url}/c.jpg")

    assert high["ResultObject"]["Result"] == "1"
    assert (wrong["Code"], absent["Code"]) == ("405", "401")
    deliveries = [call["delivery"] for call in emulators.calls("aliyun")]
    assert deliveries == ["url", "url", "url"]


@pytest.mark.parametrize(
    ("media", "kind", "expected"),
    [
        (image(kind="PNG"), "IMAGE", "405"),
        (video(), "IMAGE", "405"),
        (PHOTO[:-200], "IMAGE", "420"),
        (image(width=1081, height=1920), "IMAGE", "405"),
        (image(width=1080, height=1921), "IMAGE", "405"),
        (PHOTO.ljust(110_000, b"\0"), "VIDEO", "405"),
        (b"not a video".ljust(110_000), "VIDEO", "420"),
        (video(at_least_bytes=100_000), "VIDEO", "405"),
        (video(seconds=0.9), "VIDEO", "405"),
        (video(seconds=3.1), "VIDEO", "405"),
        (video(seconds=2, rate=3), "VIDEO", "405"),
        (video(container="avi"), "VIDEO", "405"),
        (as_3gp(video()), "VIDEO", "405"),
        (turned(image(width=1200, height=1000)), "IMAGE", "405"),
        (turned(image(width=1920, height=1080)), "IMAGE", "405"),
        (turned(image(width=1000, height=1200)), "IMAGE", "405"),
    ],
    ids=range(16),
)
def test_media_outside_the_documented_limits_are_refused(
    emulators: RunningEmulators, media: bytes, kind: str, expected: str
) -> None:
    assert ask_aliyun(emulators, media, kind)["Code"] == expected


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        (image(width=1080, height=1920), "IMAGE"),
        (image(width=1000, height=800), "IMAGE"),
        (turned(image(width=1000, height=1080)), "IMAGE"),
        (PHOTO + bytes(1_000_000), "IMAGE"),
        (video(seconds=1), "VIDEO"),
        (video(seconds=3), "VIDEO"),
    ],
    ids=range(6),
)
def test_media_at_the_documented_limits_are_answered(
    emulators: RunningEmulators, media: bytes, kind: str
) -> None:
    assert ask_aliyun(emulators, media, kind)["Code"] == "200"


def test_media_above_ten_megabytes_behind_a_url_are_too_large(emulators: RunningEmulators) -> None:
    with served({"/a.jpg": PHOTO.ljust(10_000_001, b"\0")}) as url:
        assert ask_aliyun(emulators, face_url=f"{url}/a.jpg")["Code"] == "421"


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_videos_in_the_documented_containers_are_answered(
    emulators: RunningEmulators, container: str
) -> None:
    assert ask_aliyun(emulators, video("swap", container=container), "VIDEO")["Code"] == "200"


@pytest.mark.parametrize(
    ("label", "result", "tags"),
    [
        ("genuine", "0", ""),
        ("swap", "1", "SuspectDeepForgery"),
        ("generated", "1", "SuspectAIGCFace,SuspectDeepForgery"),
        ("composite", "1", "SuspectPSFace"),
        ("template", "1", "SuspectTemple"),
        ("recapture", "2", "SuspectRemake"),
        ("watermark", "2", "SuspectWarterMark"),
        ("adversarial", "0", ""),
        ("unknowntag", "2", "SuspectUndocumented"),
    ],
)
def test_a_label_in_the_media_decides_the_verdict(
    emulators: RunningEmulators, label: str, result: str, tags: str
) -> None:
    found = ask_aliyun(emulators, image(label))["ResultObject"]

    assert (found["Result"], found["RiskTag"]) == (result, tags)
    scores = found["RiskScore"]
    assert all(len(text) == 6 and 0.0 <= float(text) <= 1.0 for text in scores.values())
    flagged = {tag.replace("WarterMark", "WaterMark") for tag in tags.split(",") if tag}
    assert flagged == {name for name, text in scores.items() if float(text) >= 0.5}


@pytest.mark.parametrize(("label", "expected"), [("noface", "406"), ("covered", "420"), ("poor", "420")])
def test_media_without_a_usable_face_have_no_verdict(
    emulators: RunningEmulators, label: str, expected: str
) -> None:
    answer = ask_aliyun(emulators, image(label))

    assert answer["Code"] == expected
    assert answer.get("ResultObject") is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"fault": "throttled"}, (400, "Throttling.User")),
        (
            {"fault": "throttled", "code": "Throttling.Api", "http_status": 429},
            (429, "Throttling.Api"),
        ),
        ({"fault": "code", "code": "412"}, (200, "412")),
        (
            {"fault": "code", "code": "ServiceUnavailable", "http_status": 503},
            (503, "ServiceUnavailable"),
        ),
        (
            {"fault": "code", "code": "Forbidden.RAM", "http_status": 403},
            (403, "Forbidden.RAM"),
        ),
    ],
    ids=str,
)
def test_a_scripted_code_comes_from_its_own_layer_once(
    emulators: RunningEmulators, rule: dict[str, Any], expected: tuple[int, str]
) -> None:
    emulators.script("aliyun", **rule)

    assert aliyun_reply(emulators) == expected
    assert aliyun_reply(emulators) == (200, "200")
    assert [call["billed"] for call in emulators.calls("aliyun")] == [False, True]
    assert emulators.calls("aliyun")[0]["throttled"] == (rule["fault"] == "throttled")


def test_a_throttled_reply_may_say_when_to_come_back(emulators: RunningEmulators) -> None:
    emulators.script("aliyun", fault="throttled", retry_after_ms=700)

    response, _ = ask(emulators, "aliyun")

    assert response.headers["x-acs-retry-after"] == "700"


def test_verdicts_come_in_every_odd_form_that_is_documented(emulators: RunningEmulators) -> None:
    def next_answer(**rule: Any) -> Any:
        emulators.script("aliyun", **rule)
        return json.loads(ask(emulators, "aliyun", image("swap"))[1])

    def next_score(form: str) -> Any:
        return next_answer(fault="odd_risk_score", form=form)["ResultObject"]["RiskScore"]

    plain = next_score("map")
    assert plain["SuspectDeepForgery"].startswith("0.9")
    assert json.loads(next_score("json_string")) == plain
    assert json.loads(next_score("keyed_json_string")["key"]) == plain
    numbers = next_answer(fault="result_as_int")
    assert (numbers["Code"], numbers["ResultObject"]["Result"]) == (200, 1)
    assert next_answer(fault="null_result_object")["ResultObject"] is None
    assert "RiskTag" not in next_answer(fault="missing_risk_tag")["ResultObject"]
