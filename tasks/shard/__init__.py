"""The line: how the questions of one shard stream through the stages.

line     what all shards of one provider in a run have in common
feed     the shard's questions that have no answer yet, a batch at a time
trip     one object's trip: fetch, look, prepare, ask, record
by_url   which objects the provider fetches by itself, and how
looking  what is read of an object's own bytes on its trip
asking   announce, pace and ask about one object, by one delivery or about one segment after another
row      how a trip's end becomes a verdict
memory   how much the trips under way may hold
stream   a shard's trips, side by side
"""
