"""The line: how the questions of one shard stream through the stages.

line     what all shards of one provider in a run have in common
feed     the shard's questions that have no answer yet, a batch at a time
trip     one object's trip: fetch, prepare, announce, pace, ask, record
row      how a trip's end becomes a verdict
memory   how much the trips under way may hold
stream   a shard's trips, side by side
"""
