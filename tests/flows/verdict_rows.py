"""A home as an analyst reads it."""

import json
from pathlib import Path
from typing import Any

import duckdb


def parts(home: Path, run_id: str = "*") -> list[Path]:
    return sorted(home.glob(f"verdicts/provider=*/run={run_id}/*.parquet"))


def rows(home: Path, run_id: str = "*") -> list[dict[str, Any]]:
    """Every verdict as a dict, by url, provider and time."""
    files = [str(path) for path in parts(home, run_id)]
    if not files:
        return []
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT * FROM read_parquet(?, hive_partitioning = false) ORDER BY url, provider, settled_at",
            [files],
        )
        names = [each[0] for each in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def records(home: Path) -> list[dict[str, Any]]:
    """The run records, oldest first."""
    found = [json.loads(path.read_text()) for path in (home / "runs").glob("*.json")]
    return sorted(found, key=lambda record: str(record["started_at"]))


def books(record: dict[str, Any], provider: str = "tencent") -> dict[str, Any]:
    (found,) = [each for each in record["books"] if each["provider"] == provider]
    return dict(found)
