"""Report: what the verdicts say. Pure functions of the Parquet.

query     SQL over the verdicts     findings   what a run found, in numbers
"""
