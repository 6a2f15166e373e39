"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about 20 minutes."""

from benchmarks import calls, inventories, lanes, listings, throughput

for each in (calls, lanes, throughput, listings, inventories):
    each.main()
