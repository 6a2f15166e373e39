"""Report: what the verdicts say. Pure functions of the Parquet.

query      SQL over the verdicts                 findings   what a run found, in numbers
span       what all runs settled in a span of time
coverage   how far the visiting order is covered, and what was found on the way
estimate   from that to the share of all objects at risk
intervals  how sure such a share is
"""
