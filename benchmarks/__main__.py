"""`python -m benchmarks`: every benchmark in order. Quiet the machine first; takes about 25 minutes."""

from benchmarks import calls, lanes, reuse, throughput

for each in (calls, lanes, throughput, reuse):
    each.main()
