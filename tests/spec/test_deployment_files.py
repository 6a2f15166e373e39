"""deployments/ and the Dockerfile: what they name is there, and says what is meant."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from domain.errors import UsageError
from flows.deploying.deployments import TAG, flow_of
from flows.deploying.wanted import PREFECT_YAML, Deployment, SpecFile, Wanted, read_wanted

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deployments" / "systemd").glob("*.service"))
BY_HAND = {"resume": {"home_url"}, "backfill": {"spec_path"}}


@pytest.fixture(scope="module")
def wanted() -> Wanted:
    return read_wanted([SpecFile(Path("/specs/kyc.toml"), "kyc")])


def named(wanted: Wanted, name: str) -> Deployment:
    (found,) = [each for each in wanted.deployments if each.name == name]
    return found


# --- prefect.yaml ---


def test_every_entrypoint_is_a_flow_that_takes_the_parameters(wanted: Wanted) -> None:
    for deployment in wanted.deployments:
        flow = flow_of(deployment)
        assert set(deployment.parameters) <= set(flow.parameters.properties), deployment.name
        missing = set(flow.parameters.required or []) - set(deployment.parameters)
        if deployment.name != "shard":  # whose coordinator gives them all
            assert missing <= BY_HAND.get(deployment.name, set()), deployment.name


def test_the_deployments_of_the_guide_are_there(wanted: Wanted) -> None:
    names = {f"{flow_of(each).name}/{each.name}" for each in wanted.deployments}
    guide = (ROOT / "deployments" / "README.md").read_text()
    assert names == set(re.findall(r"^\| `(\w+/[\w-]+)` \|", guide, re.MULTILINE))


def test_every_deployment_goes_to_a_pool_and_queue_of_the_file_and_has_our_tag(wanted: Wanted) -> None:
    queues = {(pool.name, queue.name) for pool in wanted.pools for queue in pool.queues}
    queues |= {(pool.name, "default") for pool in wanted.pools}
    for deployment in wanted.deployments:
        assert (deployment.work_pool.name, deployment.work_pool.work_queue_name) in queues, deployment.name
        assert TAG in deployment.tags


def test_the_night_never_overlaps_itself_and_has_a_time_zone(wanted: Wanted) -> None:
    night = named(wanted, "nightly")
    assert night.concurrency_limit is not None
    assert (night.concurrency_limit.limit, night.concurrency_limit.collision_strategy) == (1, "CANCEL_NEW")
    assert [(each.timezone, each.active) for each in night.schedules] == [("Asia/Shanghai", True)]


def test_audits_come_before_coordinators_and_shards_have_a_pool_of_their_own(wanted: Wanted) -> None:
    priorities = {queue.name: queue.priority for pool in wanted.pools for queue in pool.queues}
    assert priorities["audits"] < priorities["backfills"]
    pools = {each.name: each.work_pool.name for each in wanted.deployments}
    assert pools["shard"] not in {pools[name] for name in pools if name != "shard"}


def test_one_spec_path_is_all_there_is_to_fill_in() -> None:
    assert set(re.findall(r"{{\s*\$(\w+)", PREFECT_YAML.read_text())) == {"FACESWEEP_CLONE", "FACESWEEP_SPEC"}


def test_several_specs_have_deployments_of_their_own_and_share_the_rest() -> None:
    specs = [SpecFile(Path(f"/specs/{name}.toml"), name) for name in ("kyc", "loans")]
    wanted = read_wanted(specs)
    assert named(wanted, "nightly-kyc").parameters == {"spec_path": "/specs/kyc.toml"}
    assert named(wanted, "nightly-loans").parameters == {"spec_path": "/specs/loans.toml"}
    assert [each.name for each in wanted.deployments if "backfill" in each.name] == ["backfill"]


def test_without_a_spec_what_needs_none_is_deployed() -> None:
    assert {each.name for each in read_wanted([]).deployments} == {"resume", "backfill", "shard"}


def test_two_specs_of_one_name_are_refused() -> None:
    specs = [SpecFile(Path(f"/specs/{name}.toml"), "kyc") for name in ("a", "b")]
    with pytest.raises(UsageError, match="two of the specs name their audit kyc"):
        read_wanted(specs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("name: nightly", "nmae: nightly"), "deployment: name: Field required"),
        (("$FACESWEEP_SPEC", "$SPEC"), r"\$SPEC is not one of the variables known here: FACESWEEP_CLONE"),
        (('cron: "30 1 * * *"', "interval: 60"), "deployment: schedules.0.cron: Field required"),
        (("deployments:\n", "deployments: [\n"), "cannot be read"),
    ],
)
def test_a_slip_in_prefect_yaml_is_one_sentence(
    tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(PREFECT_YAML.read_text().replace(*change))
    with pytest.raises(UsageError, match=sentence) as refusal:
        read_wanted([SpecFile(Path("/specs/kyc.toml"), "kyc")], path)
    assert str(path) in str(refusal.value)


def test_an_entrypoint_without_a_flow_is_one_sentence(wanted: Wanted) -> None:
    wrong = named(wanted, "nightly").model_copy(update={"entrypoint": "flows/audit.py:Path"})
    with pytest.raises(UsageError, match=r"deployment nightly: there is no flow flows/audit.py:Path"):
        flow_of(wrong)


# --- settings and keys ---


def assignments(path: Path) -> dict[str, str]:
    """Variables of an env file, commented ones too."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_every_setting_is_one_that_prefect_knows() -> None:
    known = set(_get_settings_fields(Settings)) | {"DO_NOT_TRACK"}
    assert set(assignments(ROOT / "deployments" / "server.env")) <= known


def test_a_shell_and_systemd_read_the_settings_alike() -> None:
    """No quotes, no blanks, no dollars: where the two differ."""
    for name in ("server.env", "keys.env.example"):
        for value in assignments(ROOT / "deployments" / name).values():
            assert re.fullmatch(r"[\w.:/@+-]*", value), value


def test_no_file_for_deployment_holds_a_key() -> None:
    assert not any(assignments(ROOT / "deployments" / "keys.env.example").values())
    assert not any("KEY" in name for name in assignments(ROOT / "deployments" / "server.env"))
    assert "/keys.env" in (ROOT / ".gitignore").read_text().splitlines()


# --- systemd ---


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Sections of a unit file, each key with all its values."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return sections


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_service_runs_as_an_ordinary_user_who_writes_where_he_must(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["User"] == ["facesweep"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["StateDirectory"] == ["facesweep"]
    assert "PREFECT_HOME=/var/lib/facesweep/prefect" in service["Environment"]
    assert not [value for value in service["Environment"] if "KEY" in value or "SECRET" in value]


def test_keys_are_given_to_workers_and_not_to_the_server() -> None:
    files = {path.name: unit(path)["Service"]["EnvironmentFile"] for path in UNITS}
    assert "/etc/facesweep/keys.env" in files["facesweep-worker@.service"]
    assert "/etc/facesweep/keys.env" not in files["facesweep-server.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to ask")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        name = path.name.replace("@.", "@facesweep.")
        # What they start is not installed here.
        (tmp_path / name).write_text(
            path.read_text().replace("/opt/facesweep/.venv/bin/prefect", "/bin/true")
        )
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.glob("*.service")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


# --- the image ---


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
        for line in text.splitlines()
        if line and not line.startswith("#")
    ]


def test_the_image_runs_as_an_ordinary_user() -> None:
    steps = dockerfile()
    assert [argument for name, argument in steps if name == "USER"] == ["facesweep"]
    assert steps.index(("USER", "facesweep")) < next(i for i, step in enumerate(steps) if step[0] == "CMD")


def test_the_image_holds_pinned_packages_and_none_of_development() -> None:
    steps = " ".join(argument for name, argument in dockerfile() if name in ("RUN", "COPY"))
    script = (ROOT / "deployments" / "build.sh").read_text()
    assert "requirements.lock" in steps
    assert "--require-hashes" in script
    assert "requirements-dev" not in steps + script
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^(pytest|ruff|mypy|moto|hypothesis)==", lock, re.MULTILINE)


def test_what_the_image_copies_is_what_the_builder_is_shown() -> None:
    copied = {
        source.rstrip("/")
        for name, argument in dockerfile()
        if name == "COPY" and not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    shown = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {each.partition("/")[0] for each in copied} == {each.partition("/")[0] for each in shown}
    assert all((ROOT / each).exists() for each in copied | shown)


def test_the_steps_of_the_image_make_a_command_that_runs(tmp_path: Path) -> None:
    """The Dockerfile's own COPY and RUN steps, in a folder, with the few pinned packages the help needs."""
    if os.environ.get("PIP_NO_INDEX"):
        pytest.skip("pip may not fetch anything here")
    here = tmp_path / "opt"
    here.mkdir()
    environment = {**os.environ, "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    stage = ""
    for name, argument in dockerfile():
        if name == "FROM":
            stage = argument
        if "AS build" not in stage:
            continue
        if name == "COPY":
            *sources, target = argument.split()
            for source in sources:
                copy(ROOT / source, here / target)
            if "requirements.lock" in sources:
                few(here / "requirements.lock", "setuptools", "rich", "markdown-it-py", "mdurl", "pygments")
        if name == "RUN":
            done = subprocess.run(
                shlex.split(argument), cwd=here, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode and "No matching distribution" in done.stderr:
                pytest.skip("pip reaches no index here")
            assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [here / ".venv/bin/facesweep", "deploy", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "example: facesweep deploy kyc.toml" in said
    assert (here / "flows/__pycache__").is_dir()  # nobody may write there later


def copy(source: Path, target: Path) -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("**/")]
    if source.is_dir():
        shutil.copytree(
            source,
            target,
            dirs_exist_ok=True,
            ignore=lambda _, names: {
                name for name in names if any(fnmatch.fnmatch(name, each[3:]) for each in ignored)
            },
        )
    else:
        place = target / source.name if target.is_dir() or target.suffix == "" else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def few(lock: Path, *packages: str) -> None:
    """Leave these packages in the lock file, as it pins them."""
    entries = re.split(r"\n(?=\S)", lock.read_text())
    kept = [each for each in entries if each.partition("==")[0] in packages]
    assert len(kept) == len(packages)
    lock.write_text("\n".join(kept) + "\n")
