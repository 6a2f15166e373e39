"""What rows say of an object's own bytes, and what a spec may make of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import UsageError
from emulators.tencent_decryption import AES, SM4
from tests.contract.emulated_media import image
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import both, face
from tests.flows.in_process import put, sweep, write_spec
from tests.media_corpus import clip
from tests.spec.signed_media import signed
from tests.spec.test_signals import FIELDS, segment

pytestmark = pytest.mark.anyio


def labelled(content: bytes, label: str = "1") -> bytes:
    """The picture with a label of GB 45438 behind its first marker."""
    return content[:2] + segment(0xFE, json.dumps(FIELDS | {"Label": label}).encode()) + content[2:]


def spec_of(folder: Path, emulators: RunningEmulators, **signals: bool) -> Path:
    tables: dict[str, Any] = {"tencent": both(emulators)["tencent"], "signals": signals}
    return write_spec(folder / "kyc.toml", source={"url": "source"}, **tables)


def rows(home: Path, run_id: str = "one") -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in verdict_rows.rows(home, run_id)}


async def test_signals_stand_beside_the_verdict_and_change_nothing_of_it(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    put(tmp_path / "source", plain=face(1), labelled=labelled(face(2, "swap")))

    await sweep(spec_of(tmp_path, emulators), "one")

    found = rows(tmp_path / "home")
    assert {key: (row["outcome"], row["risk"], row["aigc_label"]) for key, row in found.items()} == {
        "plain.jpg": ("scored", "low", None),
        "labelled.jpg": ("scored", "high", "generated"),
    }
    assert {row["signals_from"] for row in found.values()} == {"object"}
    assert found["labelled.jpg"]["aigc_producer"] == FIELDS["ContentProducer"]
    assert {row["schema_version"] for row in found.values()} == {3}


async def test_a_labelled_object_is_not_asked_about_where_the_spec_says_so_and_the_books_balance(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Only a label that says so outright spares a call; the row says why nobody was asked."""
    contents = {"plain": face(1), "generated": labelled(face(2, "swap")), "possibly": labelled(face(3), "2")}
    put(tmp_path / "source", **contents)

    record = await sweep(spec_of(tmp_path, emulators, skip_labelled=True), "one")

    found = rows(tmp_path / "home")
    assert {key: (row["outcome"], row["reason"], row["attempts"]) for key, row in found.items()} == {
        "plain.jpg": ("scored", None, 1),
        "generated.jpg": ("unfit", "labelled", 0),
        "possibly.jpg": ("scored", None, 1),
    }
    assert found["generated.jpg"]["billed"] == "no"
    assert found["generated.jpg"]["content_sha256"] is not None
    assert (record.books[0].balance.is_balanced, record.books[0].calls) == (True, 2)


async def test_a_label_costs_no_answer_that_is_known_already(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """What an earlier run paid for is repeated, label or not."""
    put(tmp_path / "source", once=labelled(face(1, "swap")))
    await sweep(spec_of(tmp_path, emulators), "one")
    put(tmp_path / "source", again=labelled(face(1, "swap")))

    await sweep(spec_of(tmp_path, emulators, skip_labelled=True), "two")

    (row,) = rows(tmp_path / "home", "two").values()
    assert (row["outcome"], row["risk"], row["aigc_label"]) == ("reused", "high", "generated")


async def test_pictures_that_look_alike_have_hashes_that_are_near(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    sample = Path(__file__).parents[2] / "data" / "sample" / "selfies" / "2024-03"
    names = sorted(path.stem for path in sample.glob("*.jpg"))[:4]
    put(tmp_path / "source", **{name: (sample / f"{name}.jpg").read_bytes() for name in names})
    # Its own tail makes it another file, and the same picture.
    put(tmp_path / "source", again=(sample / f"{names[0]}.jpg").read_bytes() + b"\0" * 9)
    emulators.settings("tencent", latency_ms="700")

    await sweep(spec_of(tmp_path, emulators), "one")

    hashes = {key: row["perceptual_hash"] for key, row in rows(tmp_path / "home").items()}
    assert all(each is not None and len(each) == 64 for each in hashes.values())
    assert hashes["again.jpg"] == hashes[f"{names[0]}.jpg"]
    assert len(set(hashes.values())) == len(names)


async def test_nothing_is_hashed_where_the_spec_says_so(tmp_path: Path, emulators: RunningEmulators) -> None:
    put(tmp_path / "source", plain=face(1))

    await sweep(spec_of(tmp_path, emulators, perceptual_hash=False), "one")

    (row,) = rows(tmp_path / "home").values()
    assert (row["perceptual_hash"], row["signals_from"]) == (None, "object")


@pytest.mark.parametrize(("verify", "state"), [(False, "present"), (True, "valid")])
async def test_a_manifest_is_verified_where_the_spec_says_so(
    tmp_path: Path, emulators: RunningEmulators, verify: bool, state: str
) -> None:
    put(tmp_path / "source", signed=signed(face(1), "JPEG"), plain=face(2))

    await sweep(spec_of(tmp_path, emulators, verify_c2pa=verify), "one")

    found = rows(tmp_path / "home")
    assert {key: (row["c2pa"], row["source_type"]) for key, row in found.items()} == {
        "signed.jpg": (state, "trainedAlgorithmicMedia"),
        "plain.jpg": (None, None),
    }


async def test_verifying_without_the_library_is_refused_before_anybody_is_asked(
    tmp_path: Path, emulators: RunningEmulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "source", plain=face(1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(UsageError, match=r"install facesweep\[c2pa\]"):
        await sweep(spec_of(tmp_path, emulators, verify_c2pa=True), "one")

    assert not emulators.calls("tencent")


@pytest.mark.parametrize("algorithm", [AES, SM4])
async def test_a_run_with_encryption_sends_no_face_in_the_clear(
    tmp_path: Path, emulators: RunningEmulators, algorithm: str
) -> None:
    put(tmp_path / "source", swap=face(1, "swap"), large=image("genuine", width=2000, height=2600))
    (tmp_path / "key.pem").write_text(emulators.control("tencent", "GET", "public_keys")[algorithm])
    tencent = both(emulators)["tencent"] | {"encryption": algorithm, "public_key": "key.pem"}
    spec = write_spec(tmp_path / "kyc.toml", source={"url": "source"}, tencent=tencent)

    record = await sweep(spec, "one")

    found = rows(tmp_path / "home")
    assert {key: (row["risk"], row["delivery"]) for key, row in found.items()} == {
        "swap.jpg": ("high", "encrypted"),
        "large.jpg": ("low", "encrypted"),
    }
    calls = emulators.calls("tencent")
    assert [call["delivery"] for call in calls] == ["encrypted"] * 2
    assert {call["media_sha256"] for call in calls} == {row["sent_sha256"] for row in found.values()}
    # Whoever goes on needs no file: the key is in the run's record.
    assert "BEGIN" in record.spec["providers"]["tencent"]["public_key"]


async def test_every_segment_of_a_video_is_encrypted(tmp_path: Path, emulators: RunningEmulators) -> None:
    put(tmp_path / "source", long=clip(seconds=30, gop=10))
    (tmp_path / "key.pem").write_text(emulators.control("tencent", "GET", "public_keys")[AES])
    tencent = both(emulators)["tencent"] | {"encryption": AES, "public_key": "key.pem", "video_segments": 2}

    await sweep(write_spec(tmp_path / "kyc.toml", source={"url": "source"}, tencent=tencent), "one")

    (row,) = rows(tmp_path / "home").values()
    assert (row["outcome"], row["delivery"], row["attempts"]) == ("scored", "encrypted", 2)
    assert row["message"].startswith("2 of 2 segments: ")
    calls = emulators.calls("tencent")
    assert [call["delivery"] for call in calls] == ["encrypted"] * 2
    assert row["sent_sha256"] in {call["media_sha256"] for call in calls}
