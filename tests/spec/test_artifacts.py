"""What Prefect's UI is given to show, as text."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.runs import ShardCounts
from flows.artifacts import artifact_key, progress_line
from tests.spec.test_metrics import NOW, PROGRESS

(TENCENT,) = PROGRESS.providers


def test_progress_says_first_what_is_asked_first() -> None:
    assert progress_line(TENCENT, NOW) == (
        "92 of 900 settled · 4.90/s of 5/s, 3/s of it ours · 3 min left · 97 calls and 3 throttled by this "
        "process · 2 in flight · 40 not published yet, the oldest for 75 s"
    )


def test_a_share_that_is_the_whole_cap_is_not_spoken_of() -> None:
    said = progress_line(replace(TENCENT, share_per_s=5, unpublished=0), NOW)
    assert said.startswith("92 of 900 settled · 4.90/s of 5/s · 3 min left · ")
    assert said.endswith("2 in flight")


def test_of_a_run_that_is_over_nothing_is_left_or_on_the_way() -> None:
    said = progress_line(TENCENT, NOW + timedelta(days=1), is_over=True)
    assert said == "92 of 900 settled · 97 calls and 3 throttled by this process"


def test_of_a_whole_backfill_the_shards_are_counted_and_no_process_is_meant() -> None:
    whole = replace(TENCENT, share_per_s=None, in_flight=0, unpublished=0)
    assert progress_line(whole, NOW, ShardCounts(7, 3, 2, 2)) == (
        "92 of 900 settled · 4.90/s of 5/s · 3 min left · 3 of 7 shards done, 2 at work, 2 waiting for a "
        "worker · 97 calls and 3 throttled"
    )


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("kyc-nightly", "progress", "tencent"), "kyc-nightly-progress-tencent"),
        (("KYC.Nightly_2", "summary"), "kyc-nightly-2-summary"),
        (("客户",), "run"),
    ],
)
def test_a_key_is_one_prefect_takes(parts: tuple[str, ...], key: str) -> None:
    assert artifact_key(*parts) == key
