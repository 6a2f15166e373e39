"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about 50 minutes."""

from benchmarks import calls, inventories, lanes, listings, planning, preparing, reuse, throughput

for each in (calls, lanes, preparing, throughput, listings, inventories, planning, reuse):
    each.main()
