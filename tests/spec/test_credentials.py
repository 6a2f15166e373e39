"""Keys come from the official chains, are renewed in time, shared, and never shown."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from domain.errors import Denied, Unavailable
from domain.verdicts import Provider
from tasks.providers.credentials import Keys, KeySource, fixed_keys, tencent_keys
from tasks.providers.failures import Failure, Meaning
from tasks.providers.standing import Standing

ROOT = Path(__file__).parents[2]
# A closed port: no chain may find a metadata service of the machine the tests run on.
NOWHERE = {"http_proxy": "http://127.0.0.1:9", "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}


class Clock:
    """Unix seconds that pass when told to."""

    now_s = 1735787045.0

    def __call__(self) -> float:
        return self.now_s


class Chain:
    """An account's chain whose keys end and are replaced; notes how it was asked."""

    def __init__(self, clock: Clock, lifetime_s: float | None = None, token: str = "token") -> None:
        self.clock, self.lifetime_s, self.token = clock, lifetime_s, token
        self.asked: list[bool] = []
        self.broken = False
        self.generation = 1

    def __call__(self, anew: bool) -> Keys:
        self.asked.append(anew)
        if self.broken:
            raise ValueError("secret=do-not-show-this")
        ends = None if self.lifetime_s is None else self.clock() + self.lifetime_s
        return Keys(f"id-{self.generation}", "do-not-show-this", self.token, ends)


def source(chain: Callable[[bool], Keys], clock: Clock, **options: float) -> KeySource:
    return KeySource(Provider.TENCENT, chain, "set THIS_VARIABLE", clock, **options)


def test_a_repr_shows_neither_secret_nor_token() -> None:
    keys = Keys("AKIDEXAMPLE", "do-not-show-this", "nor-this")
    for shown in (repr(keys), str(keys), repr(fixed_keys(Provider.TENCENT, keys))):
        assert "do-not-show-this" not in shown
        assert "nor-this" not in shown
    assert "AKIDEXAMPLE" in repr(keys)


@pytest.mark.anyio
async def test_lasting_keys_are_read_once() -> None:
    clock = Clock()
    chain = Chain(clock, token="")
    keys = source(chain, clock)
    await keys.current()
    clock.now_s += 10_000_000
    await keys.current()
    assert chain.asked == [False]


@pytest.mark.anyio
async def test_keys_with_a_known_end_are_renewed_five_minutes_before_it() -> None:
    clock = Clock()
    chain = Chain(clock, lifetime_s=3600)
    keys = source(chain, clock)
    await keys.current()
    clock.now_s += 3299
    await keys.current()
    assert len(chain.asked) == 1
    clock.now_s += 1
    chain.generation = 2
    assert (await keys.current()).id == "id-2"


@pytest.mark.anyio
async def test_temporary_keys_whose_end_nobody_tells_are_read_again_each_minute() -> None:
    """The chains renew by themselves, 5 minutes ahead at the least, and tell nobody."""
    clock = Clock()
    chain = Chain(clock)
    keys = source(chain, clock)
    await keys.current()
    clock.now_s += 59.9
    await keys.current()
    assert len(chain.asked) == 1
    clock.now_s += 0.1
    chain.generation = 2
    assert (await keys.current()).id == "id-2"


@pytest.mark.anyio
async def test_many_callers_share_one_reading() -> None:
    clock = Clock()
    chain = Chain(clock)
    keys = source(chain, clock)
    found = await asyncio.gather(*(keys.current() for _ in range(20)))
    assert len(chain.asked) == 1
    chain.generation = 2
    renewed = await asyncio.gather(*(keys.refresh(after=found[0]) for _ in range(20)))
    assert chain.asked == [False, True]
    assert {key.id for key in renewed} == {"id-2"}


@pytest.mark.anyio
async def test_a_hiccup_of_the_chain_leaves_good_keys_in_use() -> None:
    """A metadata service that is away for a moment does not end a run of weeks."""
    clock = Clock()
    chain = Chain(clock, lifetime_s=3600)
    keys = source(chain, clock)
    await keys.current()
    chain.broken = True
    clock.now_s += 3400
    assert (await keys.current()).id == "id-1"
    clock.now_s += 200
    with pytest.raises(Denied):
        await keys.current()


@pytest.mark.anyio
async def test_no_keys_end_the_run_with_what_to_set_and_without_the_chains_own_words() -> None:
    """A parser's error may quote the file with the secret in it: neither text nor cause is kept."""
    clock = Clock()
    chain = Chain(clock)
    chain.broken = True
    with pytest.raises(Denied, match=r"ValueError.*set THIS_VARIABLE") as caught:
        await source(chain, clock).current()
    assert caught.value.code == "no_credentials"
    assert "do-not-show" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.anyio
async def test_a_chain_that_hangs_holds_up_neither_the_run_nor_its_end() -> None:
    hanging = threading.Event()

    def hang(anew: bool) -> Keys:
        hanging.wait(60)
        return Keys("id", "secret")

    with pytest.raises(Denied, match=r"no answer within 0\.05 s"):
        await source(hang, Clock(), timeout_s=0.05).current()
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "credentials")
    hanging.set()


@pytest.mark.anyio
async def test_keys_that_ended_are_renewed_and_the_next_end_is_renewed_again() -> None:
    """Weeks of a run see many ends; only fresh keys that never worked end it."""
    clock = Clock()
    chain = Chain(clock)
    standing = Standing(Provider.ALIYUN, source(chain, clock), clock)
    failure = Failure(Meaning.TOKEN, "InvalidSecurityToken.Expired", "ended")
    for _ in range(3):
        stamp = await standing.stamp()
        chain.generation += 1
        assert isinstance(await standing.judge(failure, stamp, "https://h"), Unavailable)
        renewed = await standing.stamp()
        assert renewed.keys.id == f"id-{chain.generation}"
        standing.answered(renewed)
    stamp = await standing.stamp()
    assert isinstance(await standing.judge(failure, stamp, "https://h"), Unavailable)
    stamp = await standing.stamp()
    assert isinstance(await standing.judge(failure, stamp, "https://h"), Denied)


@pytest.mark.anyio
async def test_calls_under_way_with_the_old_keys_do_not_condemn_the_new_ones() -> None:
    clock = Clock()
    chain = Chain(clock)
    standing = Standing(Provider.TENCENT, source(chain, clock), clock)
    failure = Failure(Meaning.TOKEN, "AuthFailure.TokenFailure", "ended")
    under_way = [await standing.stamp() for _ in range(20)]
    chain.generation = 2
    for stamp in under_way:
        assert isinstance(await standing.judge(failure, stamp, "https://h"), Unavailable)
    assert chain.asked == [False, True]


PRINT_KEYS = """
import asyncio, dataclasses, json, sys
from domain.errors import Denied
from tasks.providers.credentials import aliyun_keys, tencent_keys

async def main():
    keys = aliyun_keys() if sys.argv[1] == "aliyun" else tencent_keys(sys.argv[2])
    try:
        found = await keys.current()
        renewed = await keys.refresh(after=found)
    except Denied as denied:
        print(json.dumps(str(denied)))
    else:
        assert renewed == found
        print(json.dumps(dataclasses.asdict(found)))

asyncio.run(main())
"""


def chain_output(home: Path, *arguments: str, **environment: str) -> tuple[object, str]:
    """What the real chain of a fresh process finds, and what that process wrote to stderr."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TENCENTCLOUD_", "ALIBABA_CLOUD_", "TKE_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS, *arguments],
        env={**clean, **NOWHERE, "HOME": str(home), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


def test_tencents_environment_is_read_by_its_own_chain_and_the_token_joins_it(tmp_path: Path) -> None:
    """The official chain knows no session token: it comes in as a value."""
    found, _ = chain_output(
        tmp_path,
        "tencent",
        "the-token",
        TENCENTCLOUD_SECRET_ID="the-id",
        TENCENTCLOUD_SECRET_KEY="the-secret",
    )
    assert found == {"id": "the-id", "secret": "the-secret", "token": "the-token", "expires_at_s": None}


def test_a_session_token_of_the_environment_is_not_mixed_with_a_files_keys(tmp_path: Path) -> None:
    folder = tmp_path / ".tencentcloud"
    folder.mkdir()
    (folder / "credentials").write_text("[default]\nsecret_id = file-id\nsecret_key = file-secret\n")
    found, _ = chain_output(tmp_path, "tencent", "the-token")
    assert found == {"id": "file-id", "secret": "file-secret", "token": "", "expires_at_s": None}


def test_aliyuns_environment_is_read_by_its_own_chain(tmp_path: Path) -> None:
    found, _ = chain_output(
        tmp_path,
        "aliyun",
        ALIBABA_CLOUD_ACCESS_KEY_ID="the-id",
        ALIBABA_CLOUD_ACCESS_KEY_SECRET="the-secret",
        ALIBABA_CLOUD_SECURITY_TOKEN="the-token",
    )
    assert found == {"id": "the-id", "secret": "the-secret", "token": "the-token", "expires_at_s": None}


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("tencent", "TENCENTCLOUD_SECRET_ID"), ("aliyun", "ALIBABA_CLOUD_ACCESS_KEY_ID")],
)
def test_without_any_keys_the_sentence_names_the_variables(
    provider: str, variable: str, tmp_path: Path
) -> None:
    said, complaints = chain_output(tmp_path, provider, "")
    assert isinstance(said, str)
    assert variable in said
    assert complaints == ""


@contextmanager
def credentials_service(reply: dict[str, str]) -> Iterator[str]:
    """A service of the kind ALIBABA_CLOUD_CREDENTIALS_URI names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/keys"
        finally:
            server.shutdown()
            thread.join()


def test_the_chains_own_logger_never_prints_a_reply_that_holds_keys(tmp_path: Path) -> None:
    """Left alone, it writes the whole reply of a credentials service to stderr."""
    reply = {"Code": "Failed", "AccessKeyId": "id", "AccessKeySecret": "do-not-show-this"}
    with credentials_service(reply) as uri:
        said, complaints = chain_output(
            tmp_path, "aliyun", ALIBABA_CLOUD_CREDENTIALS_URI=uri, http_proxy="", no_proxy="*"
        )
    assert "no keys found" in str(said)
    assert "do-not-show-this" not in f"{said} {complaints}"


def test_role_keys_come_through_the_real_chain(tmp_path: Path) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    reply = {
        "Code": "Success",
        "AccessKeyId": "role-id",
        "AccessKeySecret": "role-secret",
        "SecurityToken": "role-token",
        "Expiration": ends,
    }
    with credentials_service(reply) as uri:
        found, complaints = chain_output(
            tmp_path, "aliyun", ALIBABA_CLOUD_CREDENTIALS_URI=uri, http_proxy="", no_proxy="*"
        )
    assert found == {"id": "role-id", "secret": "role-secret", "token": "role-token", "expires_at_s": None}
    assert complaints == ""


@pytest.mark.anyio
async def test_a_broken_profile_file_is_told_without_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".tencentcloud"
    folder.mkdir()
    (folder / "credentials").write_text("secret_key = do-not-show-this\n")
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Denied, match="TENCENTCLOUD_SECRET_ID") as caught:
        await tencent_keys().current()
    assert "do-not-show-this" not in repr(caught.value)
