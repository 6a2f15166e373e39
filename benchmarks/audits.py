"""Audits: a spec for the real `audit` command, and where its own process writes."""

from pathlib import Path

from benchmarks.processes import Spent, run

SPEC = """\
[audit]
name = "benchmark"
home = "{home}"

[source]
url = "{source}"
{store}
[providers.tencent]
qps = {qps}
endpoint = "{endpoint}"
"""


def audit(
    folder: Path,
    source: str,
    endpoint: str,
    qps: int,
    *,
    limit: int | None = None,
    store: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    module: str = "flows",
) -> Spent:
    """`facesweep audit` over `source`, in a process of its own and a home in `folder`.

    Prefect's database lies in `folder` too: the first audit of a folder pays for making it.
    `module` may be another one that runs the same command line.
    """
    number = sum(1 for _ in folder.glob("home-*")) + 1
    home = folder / f"home-{number}"
    home.mkdir()
    spec = folder / f"spec-{number}.toml"
    lines = "".join(f'{key} = "{value}"\n' for key, value in (store or {}).items())
    spec.write_text(
        SPEC.format(home=home, source=source, store=lines, qps=qps, endpoint=endpoint), encoding="utf-8"
    )
    arguments = ["audit", spec, "--yes", *(["--limit", limit] if limit is not None else [])]
    return run(module, arguments, {"PREFECT_HOME": str(folder / "prefect"), **(environment or {})})


def newest_home(folder: Path) -> Path:
    """The home of the audit that ran last."""
    return max(folder.glob("home-*"), key=lambda home: int(home.name.rpartition("-")[2]))
