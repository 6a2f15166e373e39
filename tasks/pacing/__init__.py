"""Pace: how fast one provider account is asked, and what follows a call that gave no verdict.

lane      when the next call may leave: one lane for each provider account
retry     whether a question is asked again, and when
settle    one question, asked until it is settled
deadline  the moment from which no call leaves
breaker   ends a run in which most questions fail or are refused
"""
