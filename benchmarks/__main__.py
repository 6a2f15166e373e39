"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about an hour."""

from benchmarks import calls, inventories, lanes, listings, planning, preparing, reuse, shares, throughput

for each in (calls, lanes, shares, preparing, throughput, listings, inventories, planning, reuse):
    each.main()
