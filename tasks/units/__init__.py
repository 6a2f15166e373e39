"""The timetable: what flows and the command line may ask of the line.

opening    clients, sessions and homes, opened inside a run from a spec
draft      list and plan into a place no reader sees; adopted into the home, or thrown away
lifetime   a run is opened, and its books are closed however it ends
origin     whether a service or an emulator answers: never both in one home
equipment  what a run works with: session, media workers, bucket, a line for each provider
bookkeeping where the books of an open run go: the run's record and parts, or one shard's
run        one run, opened: its lines, its shards, its end
shard_work one shard of a backfill, opened; shard_books  its record, parts and claim
stages     one stage for most strategies, two where the second provider waits for the first
progress   where an open run stands, counted row by row
spending   its budget in force, who set it when, and what is left of it
tasks      the Prefect tasks, which are units of retry and display: plan, one shard, publish
books      what a home knows of its runs, read from any machine
estimates  what its answers so far say about all objects an audit selects
outlook    what a sample will tell, before anybody is asked
compacting merging the parts of a home's finished runs
reporting  what was settled in a span of time, over all runs
doctor     whether an audit could start, found out without a billed call
watching   who is told how a run gets on
events     what it says in logs      metrics    figures for Prometheus
"""
