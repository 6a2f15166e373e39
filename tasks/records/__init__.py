"""Record: the books. Nothing acknowledged is ever lost, nothing half written is ever seen.

journal     crash-safe file of calls and answers      ledger, calls     what may be written into it
allowance   what a run may still spend                queries, layout   its tables
encoding    one verdict as journal bytes              schema            the verdicts' Parquet columns
parts       journal → immutable Parquet parts         home, durable     where files appear whole
lock        one process per run                       run_record        runs/<id>.json
balance     every question in exactly one place
earlier     what earlier runs were told of a content  content_index, unpacked   how it is found
"""
