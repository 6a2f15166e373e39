"""Delivery by url: the provider fetches the object by itself; nothing but a glimpse of it is downloaded."""

import io
import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from domain.verdicts import Outcome
from tests.contract.emulated_media import image, video
from tests.contract.emulator_process import RunningEmulators
from tests.contract.store_servers import (
    OSS_KEY_ID,
    OSS_REGION,
    OSS_SECRET,
    Moto,
    RunningOss,
    running_moto,
    running_oss,
)
from tests.flows import verdict_rows
from tests.flows.faces import both
from tests.flows.in_process import sweep, write_spec

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

SIGNED = (b"Signature", b"X-Amz-", b"x-oss-", b"Expires=")


def large(label: str, size: tuple[int, int] = (900, 1200)) -> bytes:
    """A photo above 1 MB that Aliyun takes as it is: grain does not compress."""
    out = io.BytesIO()
    pixels = random.Random(7).randbytes(size[0] * size[1] * 3)
    comment = f"facesweep-sample:{label}"
    Image.frombytes("RGB", size, pixels).save(out, "JPEG", quality=93, comment=comment)
    assert 1_000_000 < len(out.getvalue()) < 10_000_000
    return out.getvalue()


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        yield running


@pytest.fixture(scope="module")
def oss() -> Iterator[RunningOss]:
    with running_oss() as running:
        yield running


@pytest.fixture
def bucket(oss: RunningOss, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """An empty bucket of the emulated OSS, and this process may read it."""
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", OSS_KEY_ID)
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", OSS_SECRET)
    client = oss.client("kyc" + sha256(request.node.name.encode()).hexdigest()[:10])
    client.create_bucket()
    oss.heal()
    oss._control("DELETE", "requests")
    return client


def spec_of(folder: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any, **more: Any) -> Path:
    aliyun = both(emulators)["aliyun"] | more.pop("aliyun", {})
    source = {"url": f"oss://{bucket.bucket_name}", "endpoint_url": oss.url, "region": OSS_REGION}
    return write_spec(folder / "kyc.toml", source=source | more.pop("source", {}), aliyun=aliyun, **more)


def rows(home: Path, run_id: str = "one") -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in verdict_rows.rows(home, run_id) if row["provider"] == "aliyun"}


def signed_texts(folder: Path) -> list[tuple[Path, bytes]]:
    """Whatever of a signature stands in any file."""
    return [
        (path, text)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".toml"
        for text in SIGNED
        if text in path.read_bytes()
    ]


def gets(oss: RunningOss, key: str) -> list[str]:
    """The ranges of the object that were read, in order; empty where all of it was."""
    return [each["range"] for each in oss.requests() if each["method"] == "GET" and each["key"] == key]


async def test_a_video_and_a_large_image_are_fetched_by_the_provider_alone(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    clip, photo, small = video("swap"), large("recapture"), image("genuine")
    for key, content in {"clip.mp4": clip, "photo.jpg": photo, "small.jpg": small}.items():
        bucket.put_object(key, content)

    record = await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")

    calls = {call["media_sha256"]: call["delivery"] for call in emulators.calls("aliyun")}
    assert calls == {
        sha256(clip).hexdigest(): "url",
        sha256(photo).hexdigest(): "url",
        sha256(small).hexdigest(): "base64",
    }
    # A glimpse by us, the whole once by the provider.
    assert gets(oss, "clip.mp4") == ["bytes=0-65535", ""]
    assert gets(oss, "photo.jpg") == ["bytes=0-65535", f"bytes={len(photo) - 4096}-{len(photo) - 1}", ""]
    assert gets(oss, "small.jpg") == [""]
    found = rows(tmp_path / "home")
    assert {key: (row["risk"], row["delivery"], row["preparation"]) for key, row in found.items()} == {
        "clip.mp4": ("high", "url", "untouched"),
        "photo.jpg": ("mid", "url", "untouched"),
        "small.jpg": ("low", "base64", "untouched"),
    }
    by_url = found["clip.mp4"]
    assert (by_url["content_sha256"], by_url["sent_sha256"], by_url["sent_bytes"]) == (None, None, len(clip))
    assert (by_url["media"], by_url["signals_from"], by_url["billed"]) == ("video", "parts", "yes")
    assert found["small.jpg"]["signals_from"] == "object"
    assert record.books[0].balance.is_balanced


async def test_an_index_behind_the_pixels_takes_a_second_range(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    clip = (Path(__file__).parents[2] / "data/sample/videos/clip.mp4").read_bytes()
    bucket.put_object("clip.mp4", clip)

    await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")

    head, second, whole = gets(oss, "clip.mp4")
    assert (head, whole) == ("bytes=0-65535", "")
    assert second.endswith(f"-{len(clip) - 1}")
    assert rows(tmp_path / "home")["clip.mp4"]["delivery"] == "url"


async def test_what_would_have_to_be_changed_or_cannot_be_told_goes_by_base64(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    """A glimpse vouches for an object or does not: then it is fetched, prepared, and its row says why."""
    cut = large("genuine")[:-5000]
    bucket.put_object("cut.jpg", cut)
    bucket.put_object("too-long.mp4", video(seconds=5))
    bucket.put_object("not-a-video.mp4", image("genuine"))
    bucket.put_object("wide.jpg", large("swap", (2000, 1500)))

    await sweep(spec_of(tmp_path, emulators, oss, bucket, aliyun={"delivery": "url"}), "one")

    found = rows(tmp_path / "home")
    assert {key: (row["outcome"], row["delivery"]) for key, row in found.items()} == {
        "cut.jpg": ("unfit", None),
        "too-long.mp4": ("scored", "base64"),
        "not-a-video.mp4": ("scored", "url"),
        "wide.jpg": ("scored", "base64"),
    }
    assert found["cut.jpg"]["reason"] == "truncated"
    assert "segment" in found["too-long.mp4"]["preparation"]
    assert found["not-a-video.mp4"]["media"] == "image"


@pytest.mark.parametrize("delivery", ["auto", "base64"])
async def test_a_local_folder_goes_by_base64(
    tmp_path: Path, emulators: RunningEmulators, delivery: str
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "clip.mp4").write_bytes(video("swap"))
    aliyun = both(emulators)["aliyun"] | {"delivery": delivery}

    await sweep(write_spec(tmp_path / "kyc.toml", source={"url": "source"}, aliyun=aliyun), "one")

    (row,) = verdict_rows.rows(tmp_path / "home", "one")
    assert (row["delivery"], row["risk"]) == ("base64", "high")


async def test_s3_is_fetched_from_like_oss(tmp_path: Path, emulators: RunningEmulators, moto: Moto) -> None:
    client = moto.client()
    client.create_bucket(Bucket="kyc-url")
    client.put_object(Bucket="kyc-url", Key="a b+c%.mp4", Body=video("swap"))
    source = {"url": "s3://kyc-url", "endpoint_url": moto.url}

    await sweep(write_spec(tmp_path / "kyc.toml", source=source, aliyun=both(emulators)["aliyun"]), "one")

    (row,) = verdict_rows.rows(tmp_path / "home", "one")
    (call,) = emulators.calls("aliyun")
    assert (row["delivery"], row["risk"], call["delivery"]) == ("url", "high", "url")


async def test_a_store_the_provider_cannot_reach_is_given_up_and_base64_does_it(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    """Nobody but the provider can tell: its refusals are free, and each object still gets its verdict."""
    clips = [video("swap", seconds=1 + number / 10) for number in range(8)]
    for number, clip in enumerate(clips):
        bucket.put_object(f"{number}.mp4", clip)
    emulators.settings("aliyun", fetches=False)

    record = await sweep(spec_of(tmp_path, emulators, oss, bucket, aliyun={"qps": 2}), "one")

    found = rows(tmp_path / "home")
    assert {row["outcome"] for row in found.values()} == {"scored"}
    assert sorted(row["delivery"] for row in found.values()) == ["base64"] * 8
    # Who had looked already when the third was refused still tried.
    attempts = [row["attempts"] for row in found.values()]
    assert set(attempts) <= {1, 2}
    assert attempts.count(2) >= 3
    assert len(emulators.calls("aliyun")) == sum(attempts)
    assert record.books[0].balance.is_balanced
    assert record.books[0].charged == 8


async def test_a_face_that_is_not_found_by_url_is_not_sent_again(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    bucket.put_object("nobody.mp4", video("noface"))

    await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")

    (row,) = rows(tmp_path / "home").values()
    assert (row["outcome"], row["reason"], row["delivery"]) == ("refused", "406", "url")
    assert len(emulators.calls("aliyun")) == 1


async def test_every_attempt_has_a_url_of_its_own_and_no_reply_brings_one_into_a_row(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    bucket.put_object("clip.mp4", video("swap"))
    emulators.script("aliyun", fault="http_error", http_status=503, times=2)

    await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")

    (row,) = rows(tmp_path / "home").values()
    assert (row["outcome"], row["attempts"], row["delivery"]) == ("scored", 3, "url")
    assert signed_texts(tmp_path) == []


async def test_invariant_4_planned_copies_share_one_call_by_url(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    """A copy is fetched, and so is then what it is a copy of: equal bytes, one call."""
    clip = video("swap")
    for number in range(4):
        bucket.put_object(f"{number}.mp4", clip)

    record = await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")

    found = rows(tmp_path / "home")
    assert sorted(row["outcome"] for row in found.values()) == ["reused"] * 3 + ["scored"]
    assert {row["risk"] for row in found.values()} == {"high"}
    assert len(emulators.calls("aliyun")) == 1
    assert record.books[0].balance.is_balanced


async def test_invariant_4_an_object_that_went_by_url_is_not_asked_about_again(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    bucket.put_object("clip.mp4", video("swap"))
    spec = spec_of(tmp_path, emulators, oss, bucket)

    await sweep(spec, "one")
    bucket.put_object("new.mp4", video("recapture", seconds=1.5))
    await sweep(spec, "two")

    assert list(rows(tmp_path / "home", "two")) == ["new.mp4"]
    assert len(emulators.calls("aliyun")) == 2


@pytest.mark.parametrize("first", ["auto", "base64"])
async def test_invariant_4_bytes_that_an_earlier_run_asked_about_are_known_under_another_name(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any, first: str
) -> None:
    """By an ETag that is an MD5: what looks like a copy is fetched and compared, and costs no call."""
    clip, photo = video("swap"), large("recapture")
    bucket.put_object("clip.mp4", clip)
    bucket.put_object("photo.jpg", photo)
    await sweep(spec_of(tmp_path, emulators, oss, bucket, aliyun={"delivery": first}), "one")
    bucket.put_object("clip again.mp4", clip)
    bucket.put_object("photo again.jpg", photo)
    record = await sweep(spec_of(tmp_path, emulators, oss, bucket), "two")

    found = rows(tmp_path / "home", "two")
    assert {key: (row["outcome"], row["risk"]) for key, row in found.items()} == {
        "clip again.mp4": ("reused", "high"),
        "photo again.jpg": ("reused", "mid"),
    }
    assert len(emulators.calls("aliyun")) == 2
    assert record.books[0].balance.is_balanced


async def test_an_etag_that_is_an_earlier_ones_and_not_its_bytes_is_asked_about(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    """An MD5 can be forged; here the earlier object is gone, so that nobody can compare."""
    bucket.put_object("clip.mp4", video("swap"))
    await sweep(spec_of(tmp_path, emulators, oss, bucket), "one")
    bucket.put_object("again.mp4", video("swap"))
    bucket.delete_object("clip.mp4")

    await sweep(spec_of(tmp_path, emulators, oss, bucket), "two")

    (row,) = rows(tmp_path / "home", "two").values()
    assert (row["outcome"], row["delivery"]) == ("scored", "base64")


async def test_an_object_that_is_replaced_before_the_glimpse_is_unreadable(
    tmp_path: Path, emulators: RunningEmulators, oss: RunningOss, bucket: Any
) -> None:
    bucket.put_object("clip.mp4", video("swap"))
    spec = spec_of(tmp_path, emulators, oss, bucket)

    def replace_it(_: object) -> None:
        bucket.put_object("clip.mp4", video("genuine", seconds=1.5))

    await sweep(spec, "one", watch=replace_it)

    (row,) = rows(tmp_path / "home").values()
    assert (row["outcome"], row["reason"]) == (Outcome.UNREADABLE, "changed")
    assert not emulators.calls("aliyun")
