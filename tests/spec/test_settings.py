"""The spec file: what it may say, and the sentence for each thing it may not."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from domain.budgets import Budget
from domain.errors import UsageError
from domain.verdicts import Provider
from emulators.tencent_decryption import AES, SM4, Decryption
from tasks.records.run_record import clean_spec
from tasks.settings import Spec, environment, read_spec, spec_of

LEAST = """
[audit]
name = "kyc"

[source]
url = "selfies"

[providers.tencent]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "kyc.toml"
    path.write_text(text, encoding="utf-8")
    return path


def data(**changes: Any) -> dict[str, Any]:
    """The least spec as data; a key such as `source__sample` sets one value, None takes it away."""
    found: dict[str, Any] = {
        "audit": {"name": "kyc"},
        "source": {"url": "/selfies"},
        "providers": {"tencent": {}},
    }
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = found
        for name in tables:
            table = table.setdefault(name, {})
        if value is None:
            del table[key]
        else:
            table[key] = value
    return found


def refusal(**changes: Any) -> str:
    """The sentence a spec is refused with."""
    with pytest.raises(UsageError) as caught:
        spec_of(data(**changes), "kyc.toml")
    sentence = str(caught.value)
    assert sentence.startswith("kyc.toml: ")
    assert "\n" not in sentence
    return sentence.removeprefix("kyc.toml: ")


# --- the file ---


def test_a_spec_needs_a_name_a_source_and_a_provider(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, LEAST))
    assert list(spec.asked) == [Provider.TENCENT]
    assert spec.asked[Provider.TENCENT].qps == 5


def test_a_file_that_is_not_there_is_named_and_an_example_pointed_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml: no such spec file; see `facesweep audit --help`"):
        read_spec(tmp_path / "absent.toml")


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kyc.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match=r"kyc\.toml: is not UTF-8: save it as UTF-8$"):
        read_spec(path)


def test_bad_toml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"kyc\.toml: not valid TOML: .*line 2"):
        read_spec(written(tmp_path, "[audit]\nname = kyc\n"))


# --- where things are ---


def test_relative_paths_count_from_the_specs_own_folder(tmp_path: Path) -> None:
    text = LEAST.replace('name = "kyc"', 'name = "kyc"\nhome = "../homes/kyc"')
    (tmp_path / "specs").mkdir()
    spec = read_spec(written(tmp_path / "specs", text))
    assert spec.home == str(tmp_path / "homes" / "kyc")
    assert spec.source.url == str(tmp_path / "specs" / "selfies")


def test_a_home_is_in_audits_unless_the_spec_says_otherwise(tmp_path: Path) -> None:
    assert read_spec(written(tmp_path, LEAST)).home == str(tmp_path / "audits" / "kyc")


@pytest.mark.parametrize("url", ["s3://kyc/selfies/", "oss://kyc/", "file:///selfies"])
def test_a_url_is_left_as_it_is(tmp_path: Path, url: str) -> None:
    assert read_spec(written(tmp_path, LEAST.replace("selfies", url))).source.url == url


def test_a_path_in_somebodys_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    spec = read_spec(written(tmp_path, LEAST.replace("selfies", "~/selfies")))
    assert spec.source.url == str(tmp_path / "me" / "selfies")


def test_an_inventory_is_found_from_the_specs_own_folder(tmp_path: Path) -> None:
    text = LEAST.replace('url = "selfies"', 'url = "s3://kyc"\ninventory = "lists/today.csv"')
    assert read_spec(written(tmp_path, text)).source.inventory == str(tmp_path / "lists/today.csv")


def test_the_inventory_of_a_bucket_is_left_as_it_is(tmp_path: Path) -> None:
    text = LEAST.replace('url = "selfies"', 'url = "s3://kyc"\ninventory = "s3://inv/a/manifest.json"')
    assert read_spec(written(tmp_path, text)).source.inventory == "s3://inv/a/manifest.json"


def test_the_columns_of_an_inventory_may_be_named() -> None:
    columns = {"url": "object_url", "subject_id": "user", "stratum": "branch"}
    source = spec_of(data(source__inventory="/list.csv", source__columns=columns), "kyc.toml").source
    assert source.column_names == columns
    assert refusal(source__inventory="/list.csv", source__columns={"subject": "user"}) == (
        "source.columns.subject: unknown key; did you mean 'subject_id'?"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("columns", {"url": "object_url"}),
        ("inventory_endpoint_url", "http://127.0.0.1:9000"),
        ("inventory_region", "eu-west-1"),
    ],
)
def test_how_to_read_an_inventory_means_nothing_without_one(key: str, value: object) -> None:
    assert refusal(**{f"source__{key}": value}) == (
        f"source.{key} says how to read an inventory: add source.inventory"
    )


# --- unknown and missing keys ---


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("audit__nmae", "name"),
        ("source__excludes", "exclude"),
        ("source__min_byte", "min_bytes"),
        ("providers__tencent__qpss", "qps"),
        ("providers__tencnet", "tencent"),
        ("sources", "source"),
        ("stratgy", "strategy"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(key: str, near: str) -> None:
    assert refusal(**{key: {}}) == f"{key.replace('__', '.')}: unknown key; did you mean {near!r}?"


def test_an_unknown_key_like_no_other_is_refused_without_a_guess() -> None:
    assert refusal(source__zzzzzz=1) == "source.zzzzzz: unknown key"


def test_an_unknown_key_of_aliyun_is_compared_with_aliyuns_own() -> None:
    assert refusal(providers__aliyun__endpoint="https://h") == (
        "providers.aliyun.endpoint: unknown key; did you mean 'endpoints'?"
    )


@pytest.mark.parametrize("key", ["audit", "source", "providers", "audit__name", "source__url"])
def test_a_missing_key_is_named(key: str) -> None:
    assert refusal(**{key: None}) == f"{key.replace('__', '.')}: this key is required"


def test_a_spec_that_asks_nobody_is_refused() -> None:
    assert "[providers] asks nobody: add [providers.tencent]" in refusal(providers__tencent=None)


# --- the way of the media ---

PUBLIC_KEYS = Decryption(7).public_keys()


@pytest.mark.parametrize("algorithm", [AES, SM4])
def test_a_public_key_may_stand_in_the_spec_or_in_a_file_beside_it(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "key.pem").write_text(PUBLIC_KEYS[algorithm])
    inline = f'encryption = \'{algorithm}\'\npublic_key = """\n{PUBLIC_KEYS[algorithm]}"""\n'
    named = f"encryption = '{algorithm}'\npublic_key = 'key.pem'\n"

    specs = [read_spec(written(tmp_path, LEAST + each)) for each in (inline, named)]

    keys = [spec.providers.tencent.public_key.strip() for spec in specs]  # type: ignore[union-attr]
    assert keys == [PUBLIC_KEYS[algorithm].strip()] * 2
    # The key is in the spec, and so in the run's record: whoever goes on needs no file.
    again = spec_of(specs[1].as_json(), "the record")
    assert again.providers.tencent is not None
    assert again.providers.tencent.cipher is not None


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"encryption": "SM4-GCM"}, "encryption and public_key go together"),
        ({"public_key": PUBLIC_KEYS[AES]}, "encryption and public_key go together"),
        ({"encryption": "AES-256-CBC", "public_key": PUBLIC_KEYS[SM4]}, "public_key is no RSA public key"),
        ({"encryption": "SM4-GCM", "public_key": PUBLIC_KEYS[AES]}, "public_key is no SM2 public key"),
        ({"encryption": "AES"}, "input should be 'none', 'AES-256-CBC' or 'SM4-GCM'"),
    ],
)
def test_encryption_needs_the_key_of_its_algorithm(changes: dict[str, Any], what: str) -> None:
    assert what in refusal(providers__tencent=changes)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "key.pem cannot be read: No such file or directory"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "key.pem holds a private key"),
        ("not a key", "key.pem holds no key in PEM"),
        (PUBLIC_KEYS[SM4], "public_key is no RSA public key in PEM"),
    ],
)
def test_a_key_file_that_is_none_is_named(tmp_path: Path, content: str | None, what: str) -> None:
    if content is not None:
        (tmp_path / "key.pem").write_text(content)
    spec = written(tmp_path, LEAST + "encryption = 'AES-256-CBC'\npublic_key = 'key.pem'\n")

    with pytest.raises(UsageError) as refused:
        read_spec(spec)

    assert what in str(refused.value)
    assert "AAAA" not in str(refused.value)


EMULATOR = {"delivery": "url", "endpoints": ["http://127.0.0.1:8802"]}


@pytest.mark.parametrize(
    ("source", "aliyun", "why"),
    [
        ({"url": "/selfies"}, {"delivery": "url"}, "nobody else can fetch the files of a folder"),
        (
            {"url": "s3://bucket/p", "endpoint_url": "http://minio.example.com"},
            {"delivery": "url"},
            "not https",
        ),
        (
            {"url": "s3://bucket/p", "endpoint_url": "https://10.1.2.3:9000"},
            {"delivery": "url"},
            "cannot reach",
        ),
        ({"url": "s3://bucket/p", "endpoint_url": "https://minio"}, {"delivery": "url"}, "cannot reach"),
        (
            {"url": "oss://bucket/p", "endpoint_url": "https://oss-cn-shanghai-internal.aliyuncs.com"},
            {"delivery": "url"},
            "cannot reach",
        ),
        ({"url": "s3://bucket/p"}, EMULATOR, "an emulator fetches from this machine only"),
        (
            {"url": "s3://bucket/p", "endpoint_url": "https://minio.example.com"},
            EMULATOR,
            "this machine only",
        ),
    ],
)
def test_delivery_by_url_is_refused_where_the_provider_cannot_fetch(
    source: dict[str, Any], aliyun: dict[str, Any], why: str
) -> None:
    said = refusal(source=source, providers={"aliyun": aliyun})
    assert said.startswith("providers.aliyun.delivery 'url': ")
    assert why in said
    # `auto` sends base64 then
    assert spec_of(data(source=source, providers={"aliyun": aliyun | {"delivery": "auto"}}), "kyc.toml")


@pytest.mark.parametrize(
    ("source", "aliyun"),
    [
        ({"url": "s3://bucket/p"}, {"delivery": "url"}),
        (
            {"url": "oss://bucket/p", "endpoint_url": "https://oss-cn-shanghai.aliyuncs.com"},
            {"delivery": "url"},
        ),
        ({"url": "s3://bucket/p", "endpoint_url": "https://minio.example.com"}, {"delivery": "url"}),
        ({"url": "s3://bucket/p", "endpoint_url": "http://127.0.0.1:9000"}, EMULATOR),
    ],
)
def test_delivery_by_url_is_taken_where_the_provider_can_fetch(
    source: dict[str, Any], aliyun: dict[str, Any]
) -> None:
    assert spec_of(data(source=source, providers={"aliyun": aliyun}), "kyc.toml")


# --- the strategy ---

BOTH = {"providers__tencent": {}, "providers__aliyun": {}}


def test_without_a_strategy_every_provider_is_asked_about_every_object() -> None:
    assert spec_of(data(**BOTH), "kyc.toml").strategy.kind == "all"


@pytest.mark.parametrize("kind", ["cascade", "split", "failover"])
def test_a_strategy_for_two_needs_two_providers(kind: str) -> None:
    assert spec_of(data(strategy__kind=kind, **BOTH), "kyc.toml").strategy.kind == kind
    assert "is about two providers: give [providers.tencent] and" in refusal(strategy__kind=kind)


def test_a_control_share_is_a_percentage() -> None:
    spec = spec_of(data(strategy={"kind": "cascade", "low_share": "2.5%"}, **BOTH), "kyc.toml")
    assert spec.strategy.low_fraction == 0.025


@pytest.mark.parametrize(
    ("strategy", "what"),
    [
        ({"kind": "cascad"}, "strategy.kind: "),
        ({"kind": "cascade", "first": "baidu"}, "strategy.first: "),
        ({"kind": "cascade", "low_share": "5"}, "strategy.low_share: must be a share from 0% to 100%"),
        ({"kind": "cascade", "low_share": "101%"}, "strategy.low_share: must be a share"),
        ({"kind": "split", "first": "aliyun"}, "strategy.first means something for 'cascade' and 'failover'"),
        ({"kind": "failover", "low_share": "5%"}, "strategy.low_share means something for 'cascade' only"),
    ],
)
def test_a_strategy_that_cannot_be_meant_is_refused(strategy: dict[str, str], what: str) -> None:
    assert refusal(strategy=strategy, **BOTH).startswith(what)


# --- credentials ---


@pytest.mark.parametrize(
    "key",
    [
        "providers__tencent__secret_id",
        "providers__tencent__secret_key",
        "providers__aliyun__access_key_id",
        "providers__aliyun__access_key_secret",
        "source__access_key_id",
        "source__secret_access_key",
    ],
)
def test_a_credential_has_no_place_in_a_spec_and_is_not_repeated(key: str) -> None:
    sentence = refusal(**{key: "hunter2"})
    assert "unknown key" in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize("key", ["providers__tencent__endpoint", "audit__home_endpoint_url"])
def test_a_password_in_an_endpoint_is_refused_and_not_repeated(key: str) -> None:
    sentence = refusal(**{key: "https://me:hunter2@host"})
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    "endpoint", ["ftp://me:hunter2@host", "http://me:hunter2@host", "https://me:hunter2@h:x"]
)
def test_a_password_in_an_endpoint_that_is_none_is_not_repeated(endpoint: str) -> None:
    assert "hunter2" not in refusal(providers__tencent__endpoint=endpoint)


@pytest.mark.parametrize("key", ["source__endpoint_url", "source__inventory_endpoint_url"])
def test_a_password_in_the_endpoint_of_the_source_is_refused_and_not_repeated(key: str) -> None:
    assert "hunter2" not in refusal(**{key: "https://me:hunter2@host"})


def test_a_password_in_the_url_of_the_source_never_reaches_the_run_record() -> None:
    inventory = "s3://me:hunter2@inv/manifest.json"
    spec = spec_of(data(source__url="s3://me:hunter2@kyc/selfies", source__inventory=inventory), "kyc.toml")
    assert "hunter2" not in str(clean_spec(spec.as_json()))


# --- endpoints ---


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8801", "http://localhost:1", "http://[::1]:1", "https://proxy.example"]
)
def test_plain_http_is_for_this_machine_only(endpoint: str) -> None:
    spec = spec_of(data(providers__tencent__endpoint=endpoint), "kyc.toml")
    assert spec.providers.tencent is not None
    assert spec.providers.tencent.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://faceid.tencentcloudapi.com",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
    ],
)
def test_plain_http_to_anywhere_else_is_refused(endpoint: str) -> None:
    assert refusal(providers__tencent__endpoint=endpoint) == (
        f"providers.tencent.endpoint: endpoint {endpoint!r} must be https: "
        "only this machine may be asked by http"
    )
    assert "must be https" in refusal(providers__aliyun={"endpoints": [endpoint]})


@pytest.mark.parametrize("endpoint", ["faceid.tencentcloudapi.com", "ftp://host", "https://", ""])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    assert refusal(providers__tencent__endpoint=endpoint) == (
        f"providers.tencent.endpoint: endpoint {endpoint!r} is not an address such as https://host"
    )


@pytest.mark.parametrize("endpoint", ["https://h/v1", "https://h?x=1", "https://h#x", "https://me@h"])
def test_an_endpoint_is_scheme_and_host_only(endpoint: str) -> None:
    assert refusal(providers__tencent__endpoint=endpoint).startswith("providers.tencent.endpoint: ")


def test_an_endpoint_with_a_port_that_is_none_is_refused_with_a_sentence() -> None:
    assert refusal(providers__tencent__endpoint="https://host:port").startswith(
        "providers.tencent.endpoint: "
    )


def test_a_closing_slash_of_an_endpoint_is_dropped() -> None:
    spec = spec_of(data(providers__tencent__endpoint="https://host/"), "kyc.toml")
    assert spec.providers.tencent is not None
    assert spec.providers.tencent.endpoint == "https://host"


def test_aliyun_needs_an_endpoint() -> None:
    assert refusal(providers__aliyun={"endpoints": []}).startswith("providers.aliyun.endpoints: ")


# --- numbers and times ---


@pytest.mark.parametrize("qps", [0, -1, 10_001, 2.5, "5", True])
def test_a_cap_is_a_whole_number_of_calls_per_second(qps: object) -> None:
    assert refusal(providers__tencent__qps=qps).startswith("providers.tencent.qps: ")


def test_a_price_is_not_negative() -> None:
    assert refusal(providers__tencent__price_per_call=-0.1).startswith("providers.tencent.price_per_call: ")


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_a_price_is_a_number_of_this_world(price: float) -> None:
    assert refusal(providers__tencent__price_per_call=price).startswith("providers.tencent.price_per_call: ")


# --- the budget and the breaker ---


def test_a_spec_without_a_budget_bounds_nothing() -> None:
    assert not spec_of(data(), "kyc.toml").budget.bounds.is_bounded


def test_a_budget_says_calls_money_and_until(tmp_path: Path) -> None:
    text = f"{LEAST}price_per_call = 0.1\n" + (
        "[budget]\ncalls = 100000\nmoney = 5000\nuntil = 2026-12-01T06:00:00+08:00\n"
    )
    bounds = read_spec(written(tmp_path, text)).budget.bounds
    assert bounds == Budget(100_000, 5000.0, datetime(2026, 11, 30, 22, tzinfo=UTC))


@pytest.mark.parametrize("calls", [0, -1, 1.5, "many", True])
def test_a_budget_of_calls_is_a_whole_number_of_at_least_one(calls: object) -> None:
    assert refusal(budget__calls=calls).startswith("budget.calls: ")


@pytest.mark.parametrize("money", [0, -1.0, float("nan"), float("inf"), True, "5"])
def test_a_budget_of_money_is_an_amount_above_zero(money: object) -> None:
    assert refusal(budget__money=money).startswith("budget.money: ")


def test_a_budget_ends_at_a_moment_with_a_time_zone() -> None:
    assert refusal(budget__until=datetime(2026, 12, 1)).startswith("budget.until: ")  # noqa: DTZ001


def test_money_cannot_be_counted_where_a_provider_has_no_price() -> None:
    sentence = "budget.money: providers.aliyun.price_per_call is missing: money cannot be counted without it"
    priced = {"providers__tencent__price_per_call": 0.1, "providers__aliyun": {}}
    assert refusal(budget__money=5.0, **priced) == sentence


def test_a_misspelled_bound_is_refused_with_the_nearest_known_one() -> None:
    assert refusal(budget__call=5) == "budget.call: unknown key; did you mean 'calls'?"
    assert refusal(breaker__leats=5) == "breaker.leats: unknown key; did you mean 'least'?"


@pytest.mark.parametrize(("share", "fraction"), [("50%", 0.5), ("2.5 %", 0.025), ("100%", 1.0)])
def test_a_breaker_trips_over_a_share(share: str, fraction: float) -> None:
    breaker = spec_of(data(breaker__share=share), "kyc.toml").breaker
    assert (breaker.fraction, breaker.least) == (fraction, 200)


@pytest.mark.parametrize("share", ["0%", "101%", "half", 0.5, ""])
def test_a_breakers_share_is_over_0_and_up_to_100_percent(share: object) -> None:
    assert refusal(breaker__share=share).startswith("breaker.share: ")


@pytest.mark.parametrize("least", [0, 100_001, 1.5])
def test_a_breakers_least_number_is_a_count(least: object) -> None:
    assert refusal(breaker__least=least).startswith("breaker.least: ")


# --- samples ---


@pytest.mark.parametrize(
    ("sample", "share", "size"),
    [
        ("1%", 0.01, None),
        ("0.5%", 0.005, None),
        ("100%", 1.0, None),
        ("12.5 %", 0.125, None),
        (1, None, 1),
        (5000, None, 5000),
    ],
)
def test_a_sample_is_a_share_or_a_count(sample: int | str, share: float | None, size: int | None) -> None:
    source = spec_of(data(source__sample=sample), "kyc.toml").source
    assert source.sample_share == pytest.approx(share)
    assert source.sample_size == size


@pytest.mark.parametrize("sample", [0, -1, "0%", "101%", "1", "many", "%", "-1%", "1e2%", "", True, 0.5])
def test_anything_else_is_no_sample(sample: object) -> None:
    assert refusal(source__sample=sample).startswith("source.sample")


@pytest.mark.parametrize(("strata", "depth"), [("prefix:1", 1), ("prefix:20", 20), ("column", None)])
def test_strata_are_folders_or_a_column(strata: str, depth: int | None) -> None:
    source = spec_of(data(source__strata=strata, source__allocation="equal"), "kyc.toml").source
    assert (source.strata, source.strata_depth, source.allocation) == (strata, depth, "equal")


def test_without_strata_there_is_no_depth_and_no_allocation() -> None:
    source = spec_of(data(), "kyc.toml").source
    assert (source.strata, source.strata_depth, source.allocation) == (None, None, None)


@pytest.mark.parametrize("strata", ["prefix", "prefix:0", "prefix:21", "prefix:1.5", "columns", "", 1])
def test_anything_else_makes_no_strata(strata: object) -> None:
    assert refusal(source__strata=strata).startswith("source.strata: ")


def test_an_allocation_is_one_of_two() -> None:
    said = refusal(source__strata="column", source__allocation="neyman")
    assert said == "source.allocation: input should be 'proportional' or 'equal'"


def test_an_allocation_without_strata_is_refused() -> None:
    said = refusal(source__allocation="equal")
    assert said == "source.allocation shares a sample among strata: add source.strata"


def test_a_time_needs_a_zone() -> None:
    assert refusal(source__modified_after=datetime(2024, 1, 1)).startswith("source.modified_after: ")  # noqa: DTZ001


def test_times_that_leave_no_moment_are_refused() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    same = moment.astimezone(timezone(timedelta(hours=8)))
    sentence = refusal(source__modified_after=moment, source__modified_before=same)
    assert sentence == "source.modified_after is not before source.modified_before"


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 65, "größe"])
def test_a_name_is_fit_for_a_folder(name: str) -> None:
    assert refusal(audit__name=name).startswith("audit.name: ")


@pytest.mark.parametrize("value", [5, ["kyc"], {}])
def test_a_value_of_the_wrong_kind_is_named(value: object) -> None:
    assert refusal(source__url=value).startswith("source.url: ")


@pytest.mark.parametrize("key", ["audit", "source", "providers", "providers__tencent", "processing_record"])
def test_a_table_that_is_no_table_is_named(key: str) -> None:
    assert refusal(**{key: "kyc"}).startswith(f"{key.replace('__', '.')}: ")


def test_several_faults_are_told_one_at_a_time_with_their_number() -> None:
    assert refusal(audit__name="a b", providers__tencent__qps=0).endswith("(and 1 more)")


# --- what is kept of it ---


def test_a_spec_survives_the_run_record() -> None:
    spec = spec_of(
        data(
            source__include=["*.jpg"],
            source__modified_after=datetime(2024, 1, 1, tzinfo=UTC),
            source__sample="1%",
            providers__aliyun={"qps": 3, "price_per_call": 0.25},
            budget={"calls": 10, "money": 1.5, "until": datetime(2026, 12, 1, 6, tzinfo=UTC)},
            breaker={"share": "20%"},
            providers__tencent__price_per_call=0.1,
            processing_record={"purpose": "fraud prevention", "assessment": 14},
        ),
        "kyc.toml",
    )
    cleaned, _ = clean_spec(spec.as_json())
    assert spec_of(cleaned, "the run record") == spec


def test_a_spec_cannot_be_changed_once_read() -> None:
    spec = spec_of(data(), "kyc.toml")
    with pytest.raises(ValueError, match="frozen"):
        spec.audit.name = "other"


def test_both_providers_are_asked_in_a_fixed_order() -> None:
    spec = spec_of(data(providers={"aliyun": {}, "tencent": {}}), "kyc.toml")
    assert list(spec.asked) == [Provider.TENCENT, Provider.ALIYUN]
    assert isinstance(spec, Spec)


# --- the environment ---


def test_the_state_folder_follows_the_usual_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FACESWEEP_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert environment.state_folder() == tmp_path / ".local" / "state" / "facesweep"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert environment.state_folder() == tmp_path / "xdg" / "facesweep"
    monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / "own"))
    assert environment.state_folder() == tmp_path / "own"


def test_prefect_is_quiet_unless_the_user_wants_to_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.QUIET_PREFECT:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    environment.quiet_prefect()
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audit__name": "../kyc"}, "audit.name: must be letters, digits, '.', '_' and '-', 64 at most"),
        ({"audit__home": "a\0b"}, "audit.home: must not hold a zero byte"),
        ({"source__url": "a\0b"}, "source.url: must not hold a zero byte"),
        ({"source__inventory": "a\0b"}, "source.inventory: must not hold a zero byte"),
        ({"source__sample": 1.5}, 'source.sample: must be a share such as "1%" or a count of at least 1'),
        ({"source__sample": 2**63}, 'source.sample: must be a share such as "1%" or a count from 1 to '),
        (
            {"source__min_bytes": 200, "source__max_bytes": 100},
            "source.max_bytes is smaller than source.min_bytes",
        ),
        (
            {"providers__aliyun__endpoints": []},
            "providers.aliyun.endpoints: list should have at least 1 item",
        ),
        ({"processing_record__by": ["x"]}, "processing_record.by: must be a text, a number, true or false"),
    ],
)
def test_the_sentence_says_what_the_key_may_be(changes: dict[str, Any], said: str) -> None:
    assert refusal(**changes).startswith(said)


def test_a_byte_order_mark_is_no_part_of_a_spec(tmp_path: Path) -> None:
    """Editors on Windows put one in front of what they save as UTF-8."""
    path = tmp_path / "kyc.toml"
    path.write_text(LEAST, encoding="utf-8-sig")
    assert read_spec(path).audit.name == "kyc"
