"""Record: the books. Nothing acknowledged is ever lost, nothing half written is ever seen.

journal     crash-safe file of calls and answers      ledger, calls     what may be written into it
allowance   what a run may still spend                queries, layout   its tables
encoding    one verdict as journal bytes              schema            the verdicts' Parquet columns
parts       journal → immutable Parquet parts         home, durable     where files appear whole
earlier     what earlier runs were told of a content  content_index, unpacked   how it is found
lock, claim one process per run or compaction         run_record        runs/<id>.json
balance     every question in exactly one place       staging           where nobody looks yet
shard_record, control   runs/<id>/…: a backfill's shards, and what people want of it
part_numbers            which numbers the parts of a run, or of a shard, have

parts_in_force   which parts hold the verdicts, for whoever reads them
compaction       many parts become few: merging, checking (that no row changed), swap
"""
