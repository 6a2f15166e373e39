"""Every form of media an archive may hold, through the real line: nothing we send is turned away."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import media_corpus
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import both
from tests.flows.in_process import sweep, write_spec

DOCUMENT = Path(__file__).parents[2] / "docs" / "media.md"
REASONS = {
    *("empty", "not_media", "unsupported_format", "truncated", "undecodable", "too_many_pixels"),
    *("image_too_small", "video_too_short"),
}
SEGMENT = re.compile(r"segment (\d+\.\d{3})\+(\d+\.\d{3}) of (\d+\.\d{3}) s")


@pytest.fixture(scope="module")
async def swept(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory, emulator_process: RunningEmulators
) -> dict[str, Any]:
    """One audit of the corpus by both providers: its files, its rows and what the emulators logged."""
    from tests.flows.faces import know_keys  # noqa: PLC0415
    from tests.flows.in_process import set_keys  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("corpus")
    files = media_corpus.write(folder / "source")
    with pytest.MonkeyPatch.context() as environment:
        set_keys(environment)
        emulator_process.reset()
        know_keys(emulator_process)
        spec = write_spec(
            folder / "kyc.toml",
            source={"url": "source", "include": ["*"], "min_bytes": 0},
            **both(emulator_process, qps=200),
        )
        await sweep(spec, "corpus")
    rows = verdict_rows.rows(folder / "home", "corpus")
    calls = {name: emulator_process.calls(name) for name in ("tencent", "aliyun")}
    return {"files": files, "rows": rows, "calls": calls}


@pytest.mark.anyio
async def test_the_corpus_holds_more_than_200_files(swept: dict[str, Any]) -> None:
    assert len({hashlib.sha256(content).digest() for content in swept["files"].values()}) > 200


@pytest.mark.anyio
async def test_nothing_we_send_is_rejected_for_size_format_or_length(swept: dict[str, Any]) -> None:
    """Every file ends with a verdict, or as unfit before a call: the emulators check by themselves."""
    assert len(swept["rows"]) == 2 * len(swept["files"])
    wrong = [
        (row["key"], row["provider"], row["outcome"], row["reason"], row["message"])
        for row in swept["rows"]
        if row["outcome"] not in ("scored", "reused")
        and not (row["outcome"] == "unfit" and row["reason"] in REASONS)
    ]
    assert wrong == []
    for name, calls in swept["calls"].items():
        assert Counter(call["code"] for call in calls) == {
            "Success" if name == "tencent" else "200": len(calls)
        }


@pytest.mark.anyio
async def test_sizes_hold_under_the_stricter_of_two_documents(swept: dict[str, Any]) -> None:
    """Tencent's older one: 3M of base64 for an image, 8M for a video; Aliyun's 10 MB, read as base64."""
    bounds = {("tencent", "image"): 3_000_000, ("tencent", "video"): 8_000_000}
    for row in swept["rows"]:
        if row["outcome"] == "scored":
            bound = bounds.get((row["provider"], row["media"]), 10_000_000)
            assert -(-row["sent_bytes"] // 3) * 4 <= bound, row["key"]


@pytest.mark.anyio
async def test_the_table_of_the_documents_is_what_was_done(swept: dict[str, Any]) -> None:
    """`python -m tests.media_corpus` prints it anew."""
    said = {
        (row["key"], row["provider"]): row["preparation"] or f"unfit: {row['reason']}"
        for row in swept["rows"]
    }
    results = {key: (said[key, "tencent"], said[key, "aliyun"]) for key in swept["files"]}
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    assert [line for line in media_corpus.table(results) if line not in lines] == []


@pytest.mark.anyio
async def test_a_row_says_which_segment_of_a_video_was_sent(swept: dict[str, Any]) -> None:
    cut = [row for row in swept["rows"] if "segment" in (row["preparation"] or "")]
    assert len(cut) > 20
    for row in cut:
        found = SEGMENT.match(row["preparation"])
        assert found is not None, row["preparation"]
        start_s, length_s, of_s = map(float, found.groups())
        assert start_s + length_s <= of_s + 0.001
        assert length_s <= (20 if row["provider"] == "tencent" else 3)
