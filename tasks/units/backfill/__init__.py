"""A backfill: one run whose shards are worked on by many machines, coordinated from one place.

ledger       what each shard was given, and its file in the home
allowances   how a budget is handed out to shards: pure
sights       one shard as it is seen, and what became of it: pure
decisions    what becomes of each shard next, and when the backfill is over: pure
dispatch     the flow runs of shards: submitting, watching, calling back
claims       the names of the limits that say who works on what
lookout      how the shards stand now, from Prefect, the claims and the home
books        the books and the progress of the whole, summed over the shards
coordinator  the loop: look, decide, write down, act
lifetime     from a home to a coordinated backfill, and to closed books
stopping     pause and abandon, from any machine that sees the home
"""
