"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about 15 minutes."""

from benchmarks import calls, lanes, throughput

for each in (calls, lanes, throughput):
    each.main()
