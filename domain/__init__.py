"""The vocabulary every part of facesweep shares. Standard library only; imports nothing of ours.

objects    what a bucket holds             questions  one object put to one provider
media      what is sent to a provider      verdicts   the answer: one final row for each question
runs       runs, shards and their books    budgets    what a run may spend
order      who is asked about first        sql        our identities as DuckDB says them
errors     the error tree: each class says what to do next
"""
