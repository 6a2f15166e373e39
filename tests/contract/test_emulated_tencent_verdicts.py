"""The emulated Tencent engine: media limits, verdicts, and its scripted codes and shapes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.contract.emulated_media import image, video
from tests.contract.emulator_clients import PHOTO, ask, ask_tencent
from tests.contract.emulator_process import RunningEmulators, running_emulators


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators) -> RunningEmulators:
    process.reset()
    return process


def refusal(emulators: RunningEmulators, media: bytes, kind: int = 1) -> str:
    """The code with which the official client's question is refused."""
    with pytest.raises(TencentCloudSDKException) as refused:
        ask_tencent(emulators, media, kind)
    return str(refused.value.code)


@pytest.mark.parametrize(
    ("media", "kind", "expected"),
    [
        (image(kind="GIF"), 1, "FailedOperation.ImageDecodeFailed"),
        (b"not an image", 1, "FailedOperation.ImageDecodeFailed"),
        (PHOTO[:-200], 1, "FailedOperation.ImageDecodeFailed"),
        (image(kind="PNG")[:-200], 1, "FailedOperation.ImageDecodeFailed"),
        (video(), 1, "FailedOperation.ImageDecodeFailed"),
        (image(width=99), 1, "FailedOperation.PoorImageQuality"),
        (PHOTO, 2, "FailedOperation.VideoDecodeFailed"),
        (video()[:3000], 2, "FailedOperation.VideoDecodeFailed"),
        (video(container="matroska"), 2, "FailedOperation.VideoDecodeFailed"),
        (video(seconds=21, rate=1), 2, "FailedOperation.VideoDurationExceeded"),
        (video(width=1920, height=1080, seconds=0.2), 2, "InvalidParameterValue"),
    ],
    ids=range(11),
)
def test_media_outside_the_documented_limits_are_refused(
    emulators: RunningEmulators, media: bytes, kind: int, expected: str
) -> None:
    assert refusal(emulators, media, kind) == expected
    assert not emulators.calls("tencent")[0]["billed"]


@pytest.mark.parametrize("container", ["mp4", "mov", "avi", "flv"])
def test_videos_in_the_documented_containers_are_answered(
    emulators: RunningEmulators, container: str
) -> None:
    assert ask_tencent(emulators, video("genuine", container=container), 2).AttackRiskLevel == "Low"


def test_png_is_an_image_too(emulators: RunningEmulators) -> None:
    assert ask_tencent(emulators, image("recapture", kind="PNG")).AttackRiskLevel == "Mid"


@pytest.mark.parametrize(
    ("label", "level", "types"),
    [
        ("genuine", "Low", []),
        ("swap", "High", ["SuspectedSynthesisImage"]),
        ("generated", "High", ["SuspectedSynthesisImage"]),
        ("composite", "High", ["SuspectedAnomalyAttack"]),
        ("template", "High", ["SuspectedBlackIndustry"]),
        ("recapture", "Mid", ["SuspectedSpoofingAttack"]),
        ("watermark", "Mid", ["SuspectedWatermark"]),
        ("adversarial", "High", ["SuspectedAdversarialAttack"]),
        ("unknowntag", "Mid", ["SuspectedUndocumented"]),
    ],
)
def test_a_label_in_the_media_decides_the_verdict(
    emulators: RunningEmulators, label: str, level: str, types: list[str]
) -> None:
    answer = ask_tencent(emulators, image(label))

    assert answer.AttackRiskLevel == level
    assert [detail.Type for detail in answer.AttackRiskDetailList] == types
    matches = answer.ExtraInfo.RetrievalLivenessExtraInfo
    assert (matches is not None) == (label == "template")
    assert matches is None or matches[0].SimilarityScore < 0.6


def test_a_synthetic_video_is_called_one(emulators: RunningEmulators) -> None:
    (detail,) = ask_tencent(emulators, video("swap"), 2).AttackRiskDetailList

    assert detail.Type == "SuspectedSynthesisVideo"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("noface", "FailedOperation.IncompleteFace"),
        ("covered", "FailedOperation.CoveredFace"),
        ("poor", "FailedOperation.PoorImageQuality"),
    ],
)
def test_media_without_a_usable_face_have_no_verdict(
    emulators: RunningEmulators, label: str, expected: str
) -> None:
    assert refusal(emulators, image(label)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"fault": "throttled"}, "RequestLimitExceeded"),
        ({"fault": "throttled", "code": "RequestLimitExceeded.UinLimitExceeded"}, None),
        ({"fault": "code", "code": "UnauthorizedOperation.Arrears"}, None),
        ({"fault": "code", "code": "InternalError"}, None),
    ],
    ids=str,
)
def test_a_scripted_code_comes_once_and_is_not_billed(
    emulators: RunningEmulators, rule: dict[str, Any], expected: str | None
) -> None:
    emulators.script("tencent", **rule)

    assert refusal(emulators, PHOTO) == (expected or rule["code"])
    assert ask_tencent(emulators, PHOTO).AttackRiskLevel == "Low"
    first, second = emulators.calls("tencent")
    assert (first["trouble"], first["billed"]) == (rule["fault"], False)
    assert first["throttled"] == (rule["fault"] == "throttled")
    assert (second["trouble"], second["billed"]) == ("", True)


def test_the_list_of_details_can_be_null_or_absent(emulators: RunningEmulators) -> None:
    emulators.script("tencent", fault="null_detail_list")
    emulators.script("tencent", fault="missing_detail_list")

    null = json.loads(ask(emulators, "tencent")[1])["Response"]
    missing = json.loads(ask(emulators, "tencent")[1])["Response"]

    assert null["AttackRiskDetailList"] is None
    assert "AttackRiskDetailList" not in missing
