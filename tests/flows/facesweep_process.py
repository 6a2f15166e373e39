"""The `facesweep` command as people run it: a process with an environment of its own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]

# Unlike any other text, so that a search for them finds leaks and nothing else.
TENCENT_KEY, TENCENT_SECRET = "AKIDe2eKey71c0", "tencentSecret9b0f5e2cA"
ALIYUN_KEY, ALIYUN_SECRET = "LTAIe2eKey3d58", "aliyunSecret4c7d19e8B"
AWS_KEY, AWS_SECRET = "AKIAe2eKey95a1", "awsSecret83f6d20b7C"
OSS_SECRET = "test-oss-secret"  # of the account tests.contract.store_servers starts the store with
OSS_KEY = "test-oss-key"

SECRETS = (TENCENT_SECRET, ALIYUN_SECRET, AWS_SECRET, OSS_SECRET)

KEYS = {
    "TENCENTCLOUD_SECRET_ID": TENCENT_KEY,
    "TENCENTCLOUD_SECRET_KEY": TENCENT_SECRET,
    "ALIBABA_CLOUD_ACCESS_KEY_ID": ALIYUN_KEY,
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ALIYUN_SECRET,
    "AWS_ACCESS_KEY_ID": AWS_KEY,
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    "OSS_ACCESS_KEY_ID": OSS_KEY,
    "OSS_ACCESS_KEY_SECRET": OSS_SECRET,
}

FOREIGN = ("AWS_", "OSS_", "ALIBABA_", "TENCENTCLOUD_", "PREFECT_", "FACESWEEP_", "PYTEST_", "COV_")


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Running:
    """A command under way, in a process group of its own, as a terminal starts one."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def signal(self, number: int) -> None:
        """To the whole process group, as a terminal sends Ctrl-C; nothing once the command has ended."""
        if self.process.poll() is not None:  # its number may be somebody else's by now
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def ended(self, timeout_s: float) -> Ended:
        """How it ended. Raises AssertionError with what it printed when it does not end in time."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.err}") from None
        return Ended(status, self._out.read_text(), self.err)

    @property
    def err(self) -> str:
        return self._err.read_text()


class Facesweep:
    """Runs commands in `folder`, with Prefect's files there too, or at a server."""

    def __init__(self, folder: Path, prefect_url: str | None = None) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)
        } | {
            **KEYS,
            "PREFECT_HOME": str(folder / "prefect"),
            "FACESWEEP_STATE": str(folder / "state"),
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            "AWS_DEFAULT_REGION": "us-east-1",
            "COLUMNS": "200",
        }
        if prefect_url:
            self.environment["PREFECT_API_URL"] = prefect_url
        self._runs = 0

    def at_python_start(self, code: str) -> None:
        """Have every Python of every command run this before anything else."""
        (self.folder / "sitecustomize.py").write_text(code, encoding="utf-8")
        paths = [str(self.folder), self.environment.get("PYTHONPATH", "")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def start(self, *arguments: object) -> Running:
        """Start a command; what it prints goes into a folder of its own."""
        self._runs += 1
        printed = self.folder / "printed" / f"{self._runs:02}-{arguments[0]}"
        printed.mkdir(parents=True)
        return Running(tuple(map(str, arguments)), self.environment, printed)

    def run(self, *arguments: object, timeout_s: float = 100) -> Ended:
        """Run a command to its end."""
        with self.start(*arguments) as running:
            return running.ended(timeout_s)

    def spec(self, name: str = "e2e", **tables: dict[str, Any]) -> Path:
        """Write a spec of these tables; `tencent` and `aliyun` are providers."""
        lines = []
        for table, keys in {"audit": {"name": name, "home": "home"}, **tables}.items():
            dotted = f"providers.{table}" if table in ("tencent", "aliyun") else table
            lines += [f"[{dotted}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path
