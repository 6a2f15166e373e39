"""The shape of the repository: who knows whom, how things are called, what the text promises."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.verdicts import Verdict

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("domain", "tasks", "flows", "emulators")
SHAPELESS = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "managers",
    "base",
    "misc",
    "processor",
}

INVARIANTS = range(1, 11)

COMMANDS = (
    *("demo", "plan", "audit", "resume", "retry", "abandon", "backfill", "pause"),
    *("status", "runs", "skipped", "report", "verdicts", "compact", "cap", "doctor", "deploy"),
)


def tracked() -> list[Path]:
    """Files of the repository: those git tracks, and new ones it does not ignore."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name.decode() for name in told.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def texts() -> Iterator[tuple[str, str]]:
    """Path and content of every file that people read."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content[:8000]:
            continue
        try:
            yield path.relative_to(ROOT).as_posix(), content.decode()
        except UnicodeDecodeError:
            continue  # an image of the sample


# --- who knows whom ---


def test_the_import_contracts_hold() -> None:
    """Flows → units → {shard, settings} → stages → domain, as `pyproject.toml` says it."""
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", checked.stdout), checked.stdout


def test_only_settings_and_the_demo_read_the_environment() -> None:
    """Stages receive values. The demo sets the keys of its own emulated accounts."""
    readers = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                readers.add(path.relative_to(ROOT).as_posix())
    assert readers == {"tasks/settings/environment.py", "flows/demo.py"}


def test_the_vocabulary_stands_on_the_standard_library_alone() -> None:
    known = set(sys.stdlib_module_names) | {"domain"}
    for path in (ROOT / "domain").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "domain").partition(".")[0] in known, path
            elif isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= known, path


# --- how things are called ---


def test_no_module_has_a_name_that_says_nothing() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in modules() if path.stem in SHAPELESS}
    packages = {path.parent for path in modules() if path.parent.name in SHAPELESS}
    assert not found
    assert not packages


def test_the_top_level_is_the_one_that_was_asked_for() -> None:
    for name in ("pyproject.toml", "flows", "tasks", "tests", "deployments", "data/sample", "README.md"):
        assert (ROOT / name).exists(), name


# --- each invariant has a test that says so ---


@pytest.mark.parametrize("number", INVARIANTS)
def test_an_invariant_has_a_test_with_its_number_in_the_name(number: int) -> None:
    promise = re.compile(rf"^(?:async )?def test_\w*?invariant_{number}_\w+", re.MULTILINE)
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__) and promise.search(path.read_text())
    ]
    assert found, f"no test is called test_invariant_{number}_…"


# --- what the text promises ---


def test_the_readme_describes_every_column_in_its_order() -> None:
    """The table under the heading about verdict columns: one row for each column, name first."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    heading = re.search(r"^#+ .*verdict columns.*$", readme, re.MULTILINE | re.IGNORECASE)
    assert heading, "README.md has no heading 'verdict columns'"
    section = re.split(r"^#+ ", readme[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    names = []
    for line in section.splitlines():
        if line.startswith("|") and "`" in line.split("|")[1]:
            names += re.findall(r"`(\w+)`", line.split("|")[1])
    assert names == [field.name for field in dataclasses.fields(Verdict)]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of the command and of each of its verbs, told by one process."""
    script = (
        "import contextlib, io, json, sys\n"
        "from flows.cli import _parser\n"
        "said = {}\n"
        "for verb in ['', *sys.argv[1:]]:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "        _parser().parse_args([*filter(None, [verb]), '--help'])\n"
        "    said[verb] = out.getvalue()\n"
        "print(json.dumps(said))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, *COMMANDS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said: dict[str, str] = json.loads(told.stdout)
    return said


def test_the_help_lists_every_command(helps: dict[str, str]) -> None:
    listed = re.findall(r"^    (\w+) ", helps[""], re.MULTILINE)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_an_example(command: str, helps: dict[str, str]) -> None:
    assert f"example: facesweep {command}" in helps[command]


def test_every_command_the_documents_name_exists() -> None:
    """`facesweep <verb> … --option` in a code block or between backticks: verb and options are real."""
    documents = [ROOT / "README.md", ROOT / "deployments" / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        (verb, tuple(sorted(set(re.findall(r"(?<= )--[a-z-]+", rest)))))
        for path in documents
        for verb, rest in re.findall(
            r"(?<!-g )facesweep ([a-z]+)\b([^`\n#|]*)", _typed(path.read_text("utf-8"))
        )
    }
    script = (
        "import contextlib, io, json, sys\n"
        "from flows.cli import _parser\n"
        "said = {}\n"
        "for verb in sys.argv[1:]:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):\n"
        "        with contextlib.suppress(SystemExit):\n"
        "            _parser().parse_args([verb, '--help'])\n"
        "    said[verb] = out.getvalue()\n"
        "print(json.dumps(said))\n"
    )
    verbs = sorted({verb for verb, _ in named})
    told = subprocess.run(
        [sys.executable, "-c", script, *verbs], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said: dict[str, str] = json.loads(told.stdout)
    assert len(verbs) > 10
    missing = [verb for verb in verbs if "invalid choice" in said[verb]]
    assert missing == []
    wrong = [(verb, each) for verb, given in named for each in given if f"{each}" not in said[verb]]
    assert wrong == []


def _typed(text: str) -> str:
    """What a document shows as typed: code blocks, and what stands between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose)])


def test_the_lock_files_name_versions_and_hashes_and_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text()
        assert "--hash=sha256:" in lock
        assert "://" not in lock
        assert not re.search(
            r"^\s*(-i|--(extra-)?index-url|--find-links|--trusted-host)\b", lock, re.MULTILINE
        )


def test_every_pinned_dependency_has_its_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    for line in lock.splitlines():
        if "==" in line and not line.startswith("#"):
            assert "--hash=" in line, line


MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|mnt|workspace)/[\w.-]+")


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    found = [
        f"{name}: {path[0]}"
        for name, text in texts()
        if not name.endswith(".lock") and name != "tests/architecture/test_layout.py"
        for path in MACHINE.finditer(text)
    ]
    assert found == []


def test_nothing_is_left_for_later_in_the_code() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        name
        for name, text in texts()
        if name.endswith((".py", ".toml", ".md")) and not name.startswith("tests/") and mark.search(text)
    ]
    assert found == []
