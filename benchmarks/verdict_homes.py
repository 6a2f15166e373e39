"""Homes full of verdicts, as nightly runs leave them: made up, of the size and the spread of real ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from domain.runs import RunStatus
from tasks.records import run_record
from tasks.records.home import Home
from tasks.records.run_record import RunRecord
from tasks.records.schema import VERDICTS

PROVIDERS = ("tencent", "aliyun")
FIRST_NIGHT = datetime(2026, 10, 1, tzinfo=UTC)
NIGHTS = 60
LAST_WHOLE_NIGHT = "20261129T000000Z-0000"
CALLS_PER_S = 10

# One in 125 scored rows is high. A reply is 1.5 KB, a third of it digits that no compression makes smaller.
ROWS = """
SELECT
  '{run_id}' AS run_id, 'kyc-nightly' AS audit, md5('{provider}' || n) AS question_id,
  's3://kyc-archive/' || key AS url, 's3' AS store, 'kyc-archive' AS bucket, key,
  NULL::VARCHAR AS version_id, left(content, 32) AS etag, (80000 + dice % 200000)::BIGINT AS size_bytes,
  settled_at - INTERVAL 1 DAY AS last_modified, if(dice % 50 = 0, 'video', 'image') AS media,
  content AS content_sha256, '{provider}' AS provider, 'DetectAIFakeFaces' AS action,
  CASE WHEN ending < 93 THEN 'scored' WHEN ending < 95 THEN 'reused' WHEN ending < 97 THEN 'refused'
       WHEN ending < 98 THEN 'unfit' WHEN ending < 99 THEN 'unreadable' ELSE 'failed' END AS outcome,
  if(ending < 95, NULL, 'FailedOperation.CoveredFace') AS reason,
  if(ending < 95, NULL, 'the face is covered') AS message,
  if(ending < 95, level, NULL) AS risk, if(ending < 95, upper(level), NULL) AS risk_raw,
  if(level = 'low', []::VARCHAR[], ['synthesis']) AS tags,
  if(level = 'low', []::VARCHAR[], ['SuspectedSynthesisImage']) AS tags_raw,
  MAP {{'SuspectedSynthesisImage': round((dice % 10000) / 10000, 4)}}::MAP(VARCHAR, DOUBLE) AS scores,
  NULL::VARCHAR AS template_group, NULL::DOUBLE AS template_similarity, 'base64' AS delivery,
  'untouched' AS preparation, content AS sent_sha256, (80000 + dice % 200000)::BIGINT AS sent_bytes,
  'https://faceid.tencentcloudapi.com' AS endpoint, uuid_of AS request_id, md5('order' || n) AS order_no,
  1::BIGINT AS attempts, 0::BIGINT AS throttled, 150 + (dice % 650000) / 1000 AS latency_ms,
  settled_at - INTERVAL 400 MILLISECOND AS asked_at, settled_at, 'yes' AS billed, 0.1 AS cost,
  NULL::VARCHAR AS reused_from,
  '{{"Response": {{"AttackRiskLevel": "Low", "AttackRiskDetailList": [' || array_to_string([
    '{{"AttackRiskType": "SuspectedSynthesisImage", "AttackRiskDetailID": "' || md5(n || ' ' || each)
    || '", "AttackRiskLevel": "Low", "AttackRiskScore": ' || (hash(n, each) % 1000000) / 1000000
    || ', "ExtraInfo": {{"TemplateGroup": "none", "TemplateSimilarity": ' || (hash(each, n) % 100000) / 100000
    || '}}}}' for each in range(6)], ', ') || '], "RequestId": "' || uuid_of || '"}}}}' AS raw,
  2::BIGINT AS schema_version, 1::BIGINT AS mapping_version, '0.1.0' AS code_version,
  'all' AS asked_because, NULL::VARCHAR AS subject_id, NULL::VARCHAR AS stratum, NULL::DOUBLE AS weight
FROM (
  SELECT n, hash(n) AS dice, hash(n, 1) % 100 AS ending, md5('request' || n)::UUID::VARCHAR AS uuid_of,
    CASE WHEN hash(n, 2) % 1000 < 8 THEN 'high' WHEN hash(n, 2) % 1000 < 30 THEN 'mid' ELSE 'low' END
      AS level,
    md5('content' || n) || md5('tnetnoc' || n) AS content,
    'selfies/' || left(md5('key' || n), 2) || '/' || md5('key' || n) || '.jpg' AS key,
    make_timestamptz({first_us} + (n - {start}) * {microseconds}) AS settled_at
  FROM (SELECT unnest(range({start}, {end})) AS n)
)
ORDER BY key, question_id
"""


def fill(home: Home, rows: int, part_rows: int) -> None:
    """Nightly runs of both providers, `rows` in all, published in parts of `part_rows` sorted by key."""
    parts_per_night = max(1, rows // len(PROVIDERS) // NIGHTS // part_rows)
    for provider in PROVIDERS:
        for number in range(rows // len(PROVIDERS) // part_rows):
            night, part = divmod(number, parts_per_night)
            begun = FIRST_NIGHT + timedelta(days=night, seconds=part * part_rows / CALLS_PER_S)
            run_id = f"{FIRST_NIGHT + timedelta(days=night):%Y%m%d}T000000Z-0000"
            sql = ROWS.format(
                run_id=run_id,
                provider=provider,
                start=number * part_rows,
                end=(number + 1) * part_rows,
                first_us=int(begun.timestamp() * 1_000_000),
                microseconds=1_000_000 // CALLS_PER_S,
            )
            path = home.path(f"verdicts/provider={provider}/run={run_id}/part-{part + 1:05d}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            with duckdb.connect() as connection:
                table = connection.sql(sql).to_arrow_table()
            pq.write_table(_in_schema(table), path, compression="zstd")
            _save_record(home, run_id)


def _in_schema(table: pa.Table) -> pa.Table:
    place = VERDICTS.get_field_index("provider")
    columns = [table.column(each.name).cast(each.type) for each in VERDICTS if each.name != "provider"]
    columns.insert(place, table.column("provider").dictionary_encode())
    return pa.Table.from_arrays(columns, schema=VERDICTS)


def _save_record(home: Home, run_id: str) -> None:
    path = home.path(f"runs/{run_id}.json")
    if path.exists():
        return
    begun = datetime.strptime(run_id[:8], "%Y%m%d").replace(tzinfo=UTC)
    record = RunRecord(
        run_id, "kyc-nightly", RunStatus.DONE, {}, "", {"schema": 2}, begun, begun, ended_at=begun
    )
    run_record.save(home, record)


def size_of(folder: Path) -> tuple[int, int]:
    """Files and bytes of a home's verdicts."""
    sizes = [path.stat().st_size for path in folder.glob("verdicts/*/*/*.parquet")]
    return len(sizes), sum(sizes)
