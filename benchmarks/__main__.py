"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about an hour."""

from benchmarks import calls, inventories, lanes, listings, planning, reuse, shares, throughput

for each in (calls, lanes, shares, throughput, listings, inventories, planning, reuse):
    each.main()
