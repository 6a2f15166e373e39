"""The timetable: what flows and the command line may ask of the line.

opening    clients, sessions and homes, opened inside a run from a spec
draft      list and plan into a place no reader sees; adopted into the home, or thrown away
lifetime   a run is opened, and its books are closed however it ends
run        one run, opened: its lines, its shards, its progress
tasks      the Prefect tasks, which are units of retry and display: plan, one shard, publish
books      what a home knows of its runs, read from any machine
compacting merging the parts of a home's finished runs
doctor     whether an audit could start, found out without a billed call
watching   who is told how a run gets on
"""
