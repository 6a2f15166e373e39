"""Shard files: where they lie in a plan, and reading one back."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pyarrow.parquet as pq

from domain.objects import MediaKind, ObjectRef, Store
from domain.questions import Question
from domain.runs import Shard
from domain.verdicts import Provider

ROWS_PER_BATCH = 1_000  # some 500 KB of Python objects; larger batches read no faster


def shard_path(plan_dir: Path, shard: Shard) -> Path:
    """Where a plan keeps the shard."""
    return plan_dir / f"provider={shard.provider}" / f"shard-{shard.number:05d}.parquet"


def read_shard(path: Path) -> Iterator[list[Question]]:
    """The shard's questions in visiting order, a batch at a time; a copy follows its original."""
    # One file, not a dataset: the folder's name must not become a column.
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            yield [
                Question(
                    question_id=row["question_id"],
                    provider=Provider(row["provider"]),
                    object=ObjectRef(
                        url=row["url"],
                        store=Store(row["store"]),
                        bucket=row["bucket"],
                        key=row["key"],
                        version_id=row["version_id"],
                        etag=row["etag"],
                        size_bytes=row["size_bytes"],
                        last_modified=row["last_modified"].astimezone(UTC),
                        subject_id=row["subject_id"],
                        stratum=row["stratum"],
                    ),
                    media=MediaKind(row["media"]),
                    copy_of=row["copy_of"],
                    asked_because=row["asked_because"],
                    weight=row["weight"],
                )
                for row in batch.to_pylist()
            ]
