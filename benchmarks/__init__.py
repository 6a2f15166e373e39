"""One script for each claim of speed: `python -m benchmarks` runs all, `python -m benchmarks.<name>` one.

calls       what a call costs in CPU: ours, the official SDK, a Prefect task for each object, a whole audit
lanes       how much of a cap is used, and whether any second holds more calls than it
throughput  where the CPU of a whole audit goes
planning    a plan of ten million objects against ten million verdicts, and pandas beside it
listings    listing a bucket with one lister and with eight
inventories ten million rows of an inventory
reuse       what it costs to find earlier answers among ten million
preparing   what an image or a clip costs to prepare, and a lane at 200/s with mixed media
compaction  merging ten million verdicts, and queries before and after; only by its name

Each prints a table and writes it to `results/<name>.md` with date, machine and command. The providers are
emulated by a process of their own on this machine, so nothing here says anything about a real network.
"""
