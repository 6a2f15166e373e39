"""Which lane an audit's calls belong to, and how its cap is changed where there is no server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from domain.errors import Stopped, UsageError
from domain.runs import RunStatus
from domain.verdicts import Provider
from tasks.pacing.deadline import Deadline
from tasks.records import run_record
from tasks.settings import Spec, spec_of
from tasks.units.caps import change_cap, lane_now
from tasks.units.lanes import alone, follow_cap, is_shared, lane_name, open_lane, write_cap
from tasks.units.opening import open_home
from tests.contract.store_servers import unused_url
from tests.spec.test_budget import a_record


def a_spec(**tencent: Any) -> Spec:
    return spec_of(
        {
            "audit": {"name": "kyc", "home": "home"},
            "source": {"url": "faces"},
            "providers": {"tencent": tencent, "aliyun": {}},
        },
        "kyc.toml",
    )


def name_of(**tencent: Any) -> str:
    spec = a_spec(**tencent)
    return lane_name(Provider.TENCENT, spec.asked[Provider.TENCENT])


def test_every_audit_of_an_account_has_the_same_lane_and_two_accounts_have_two() -> None:
    assert name_of() == name_of(qps=9, region="ap-beijing") == "facesweep-tencent-default"
    assert name_of(account="second") == "facesweep-tencent-second"


def test_all_endpoints_of_a_provider_are_one_account_and_an_emulator_is_another() -> None:
    """An emulator must neither use up the real account's cap nor set it."""
    assert name_of(endpoint="https://faceid.ap-beijing.tencentcloudapi.com") == name_of()
    assert name_of(endpoint="http://127.0.0.1:8123") == "facesweep-tencent-default-127.0.0.1:8123"
    assert name_of(endpoint="https://tencentcloudapi.com.example.org") != name_of()
    table = a_spec().asked[Provider.ALIYUN]
    assert lane_name(Provider.ALIYUN, table) == "facesweep-aliyun-default"


@pytest.mark.parametrize("account", ["", "a b", "a/b", "-a", "x" * 65])
def test_an_account_is_named_in_plain_letters(account: str) -> None:
    with pytest.raises(UsageError, match=r"providers\.tencent\.account"):
        a_spec(account=account)


def test_a_lane_is_shared_where_a_server_is_configured_that_is_not_our_own() -> None:
    assert not is_shared()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        assert is_shared()
        with alone():
            assert not is_shared()


@pytest.mark.anyio
async def test_a_lane_whose_server_cannot_be_reached_waits_and_ends_without_an_error() -> None:
    with temporary_settings({PREFECT_API_URL: f"{unused_url()}/api"}):
        async with open_lane(Provider.TENCENT, a_spec(), Deadline(None)) as lane:
            waiting = asyncio.create_task(lane.admit())
            await asyncio.sleep(0.5)
            assert (lane.share_per_s, lane.admitted) == (0, 0)
            lane.close(Stopped("enough"))
            with pytest.raises(Stopped):
                await waiting


@pytest.mark.anyio
async def test_without_a_server_the_cap_is_the_specs_until_somebody_changes_it(tmp_path: Path) -> None:
    caps, seen = tmp_path / "run.caps.json", list[tuple[int, int]]()
    async with open_lane(Provider.TENCENT, a_spec(qps=5), Deadline(None), caps=caps) as lane:
        for cap in (None, 50, 3):
            if cap is not None:
                write_cap(caps, Provider.TENCENT, cap)
                write_cap(caps, Provider.ALIYUN, 999)
            await follow_cap(lane, Provider.TENCENT, caps)
            seen.append((lane.cap_per_s, lane.share_per_s))
    assert seen == [(5, 5), (50, 50), (3, 3)]


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["", "[]", '{"tencent": 0}', '{"tencent": "x"}', "\x00"])
async def test_a_damaged_file_of_caps_changes_nothing(tmp_path: Path, content: str) -> None:
    caps = tmp_path / "run.caps.json"
    caps.write_text(content)
    async with open_lane(Provider.TENCENT, a_spec(qps=5), Deadline(None), caps=caps) as lane:
        await follow_cap(lane, Provider.TENCENT, caps)
        assert lane.share_per_s == 5


@pytest.mark.anyio
async def test_a_cap_is_given_to_the_unfinished_run_and_again_without_harm(tmp_path: Path) -> None:
    home, spec = open_home(str(tmp_path / "home")), a_spec(qps=5)
    with pytest.raises(UsageError, match="change qps"):
        await change_cap(home, spec, Provider.TENCENT, 9)
    run_record.save(home, a_record(status=RunStatus.RUNNING))
    assert await change_cap(home, spec, Provider.TENCENT, 9) == "run r1: 9 calls per second to tencent, was 5"
    assert await change_cap(home, spec, Provider.TENCENT, 9) == "run r1: 9 calls per second to tencent, was 9"


@pytest.mark.anyio
async def test_the_doctor_says_that_a_lane_without_a_server_is_each_processs_own() -> None:
    sentence = str(await lane_now(Provider.TENCENT, a_spec(qps=7)))
    assert "7 calls per second by the spec, for each process alone" in sentence
