"""What a backfill's coordinator decides: who is submitted, with which allowance, and when it is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.budgets import Budget
from domain.runs import Balance, RunStatus, Shard, ShardStatus, Wanted
from domain.verdicts import Outcome, Provider
from tasks.records.home import Home
from tasks.records.run_record import ProviderBooks
from tasks.records.shard_record import ShardRecord
from tasks.units.backfill import ledger
from tasks.units.backfill.allowances import allowance, uncommitted
from tasks.units.backfill.decisions import Circumstances, End, Turn, decide
from tasks.units.backfill.ledger import Assignment, Ledger, Terms, idempotency_key
from tasks.units.backfill.sights import LET_GO_S, VACANT_S, Fate, Flight, Sight

NOW = datetime(2026, 11, 20, 18, tzinfo=UTC)
TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN


def shard(number: int, provider: Provider = TENCENT, questions: int = 100) -> Shard:
    return Shard(provider, number, questions)


def word(of: Shard, status: ShardStatus, attempt: int = 1, settled: int = 0, **books: Any) -> ShardRecord:
    """What the shard's record says."""
    outcomes = {Outcome.SCORED: settled} if settled else {}
    return ShardRecord(
        run_id="r1",
        provider=of.provider,
        number=of.number,
        status=status,
        attempt=attempt,
        worker="process 1 on host",
        started_at=NOW,
        updated_at=NOW,
        books=ProviderBooks(Balance(of.provider, of.questions, {}, of.questions, outcomes), **books),
        stop_reason="why",
    )


def sight(
    number: int = 1,
    flight: Flight = Flight.UNKNOWN,
    said: ShardStatus | None = None,
    given: dict[str, Any] | None = None,
    provider: Provider = TENCENT,
    **seen: Any,
) -> Sight:
    """A shard that was given to a worker once, unless `given` says otherwise."""
    of = shard(number, provider)
    settled = seen.pop("settled", 0)
    books = {name: seen.pop(name) for name in ("calls", "charged") if name in seen}
    attempt = seen.pop("attempt", 1)
    assignment = Assignment(of, **({"attempt": 1, "allowance": Budget()} | (given or {})))
    record = None if said is None else word(of, said, attempt, settled, **books)
    return Sight(of, assignment, record, flight, **seen)


def turn(*sights: Sight, **given: Any) -> Turn:
    return decide(sights, Circumstances(NOW, **given))


def submitted(of: Turn) -> list[tuple[Provider, int, int]]:
    """Provider, number and attempt of what is to be submitted."""
    return [(each.shard.provider, each.shard.number, each.attempt) for each in of.submit]


def test_providers_are_submitted_side_by_side_in_visiting_order_and_no_more_at_once_than_wanted():
    sights = [Sight(shard(number, provider)) for provider in (TENCENT, ALIYUN) for number in (1, 2, 3)]

    decided = turn(*sights, at_once=3)

    assert submitted(decided) == [(TENCENT, 1, 1), (ALIYUN, 1, 1), (TENCENT, 2, 1)]
    assert not decided.is_over


def test_what_is_in_flight_takes_the_room_of_what_could_be_submitted():
    decided = turn(
        sight(1, Flight.RUNNING), sight(2, Flight.WAITING), Sight(shard(3)), Sight(shard(4)), at_once=3
    )

    assert submitted(decided) == [(TENCENT, 3, 1)]
    assert (decided.waiting, decided.working, decided.done) == (1, 1, 0)


def test_a_promise_that_prefect_never_heard_of_is_submitted_again_as_the_same_attempt():
    decided = turn(sight(1, Flight.UNKNOWN, given={"attempt": 2, "allowance": Budget(50)}))

    assert decided.submit == (Assignment(shard(1), 2, Budget(50)),)


def test_a_shard_that_died_goes_on_elsewhere_as_the_next_attempt_with_the_allowance_it_had():
    died = sight(1, Flight.OVER, ShardStatus.WORKING, {"allowance": Budget(80)}, settled=30, calls=31)

    decided = turn(died, budget=Budget(1000))

    assert died.fate is Fate.DIED
    assert [(each.attempt, each.allowance, each.settled) for each in decided.submit] == [(2, Budget(80), 30)]


def test_nobody_is_given_a_shard_whose_claim_is_still_held():
    decided = turn(sight(1, Flight.OVER, ShardStatus.WORKING, is_claimed=True))

    assert decided == Turn()  # neither submitted nor over: looked at again


def test_a_flow_run_without_a_claim_is_declared_crashed_after_a_minute_and_sooner_where_it_had_one():
    starting = sight(1, Flight.RUNNING, vacant_s=VACANT_S - 1)
    never_claimed = sight(2, Flight.RUNNING, vacant_s=VACANT_S)
    lost = sight(3, Flight.RUNNING, ShardStatus.WORKING, vacant_s=LET_GO_S)
    just_ended = sight(4, Flight.RUNNING, ShardStatus.DONE, vacant_s=LET_GO_S)

    decided = turn(starting, never_claimed, lost, just_ended)

    assert [each.shard.number for each in decided.lost] == [2, 3]
    assert submitted(decided) == []


def test_three_attempts_that_settle_nothing_end_the_backfill_as_broken():
    broken = {"fruitless": 2, "attempt": 3, "allowance": Budget()}

    decided = turn(sight(1, Flight.OVER, ShardStatus.BROKEN, broken, attempt=3))

    assert decided.end == End(
        RunStatus.BROKEN, "shard 1 of tencent came to nothing 3 times: why", provider=None
    )
    assert decided.is_over


@pytest.mark.parametrize("status", [ShardStatus.BROKEN, ShardStatus.WORKING])
def test_an_attempt_that_settled_something_starts_the_count_of_fruitless_ones_anew(status):
    decided = turn(
        sight(1, Flight.OVER, status, {"fruitless": 2, "attempt": 1, "allowance": Budget()}, settled=1)
    )

    assert [(each.attempt, each.fruitless) for each in decided.submit] == [(2, 0)]


def test_what_broke_twice_waits_before_it_starts_again():
    once = turn(sight(1, Flight.OVER, ShardStatus.BROKEN)).submit[0]
    twice = turn(
        sight(1, Flight.OVER, ShardStatus.BROKEN, {"fruitless": 1, "attempt": 1, "allowance": Budget()})
    )

    assert (once.delay_s, twice.submit[0].delay_s) == (0, 30)


def test_a_denied_shard_ends_it_all_and_calls_back_what_waits():
    decided = turn(
        sight(1, Flight.OVER, ShardStatus.DENIED),
        sight(2, Flight.WAITING),
        sight(3, Flight.RUNNING),
        Sight(shard(4)),
    )

    assert decided.end == End(RunStatus.DENIED, "why", provider=TENCENT)
    assert [each.shard.number for each in decided.recall] == [2]
    assert (submitted(decided), decided.is_over) == ([], False)


def test_an_end_stays_the_end_whatever_is_wanted_meanwhile():
    denied = End(RunStatus.DENIED, "why", provider=TENCENT)

    decided = turn(sight(1, Flight.OVER, ShardStatus.INTERRUPTED), wanted=Wanted.PAUSE, end=denied)

    assert (decided.end, decided.is_over) == (denied, True)


def test_a_pause_submits_nothing_and_is_over_once_nobody_works():
    paused = {"wanted": Wanted.PAUSE, "by": "ann@desk"}

    working = turn(sight(1, Flight.RUNNING), Sight(shard(2)), **paused)
    stopped = turn(sight(1, Flight.OVER, ShardStatus.INTERRUPTED), Sight(shard(2)), **paused)

    assert working.end == stopped.end == End(RunStatus.INTERRUPTED, "paused by ann@desk")
    assert (working.is_over, stopped.is_over) == (False, True)
    assert submitted(working) == submitted(stopped) == []


def test_what_a_pause_interrupted_goes_on_when_it_is_to_run_again():
    decided = turn(sight(1, Flight.OVER, ShardStatus.INTERRUPTED, settled=10))

    assert submitted(decided) == [(TENCENT, 1, 2)]


def test_after_a_resume_what_was_denied_is_tried_again():
    closed = {"is_closed": True, "attempt": 1, "allowance": Budget()}

    decided = turn(sight(1, Flight.OVER, ShardStatus.DENIED, closed))

    assert (decided.end, submitted(decided)) == (None, [(TENCENT, 1, 2)])


def test_a_backfill_is_done_when_every_shard_is_even_if_it_is_to_pause():
    done = turn(sight(1, Flight.OVER, ShardStatus.DONE), wanted=Wanted.PAUSE)

    assert (done.is_over, done.end, done.is_done) == (True, None, True)


def test_a_ledger_that_was_lost_begins_behind_the_attempts_that_the_shards_tell_of():
    of = shard(1)

    decided = turn(Sight(of, None, word(of, ShardStatus.INTERRUPTED, attempt=4)))

    assert submitted(decided) == [(TENCENT, 1, 5)]


def test_a_shard_is_given_a_call_for_each_question_and_some_for_what_is_turned_away():
    decided = turn(Sight(shard(1)), Sight(shard(2)), budget=Budget(150))

    assert [each.allowance.calls for each in decided.submit] == [110, 40]


def test_what_a_shard_did_not_use_is_given_to_others_when_it_ends():
    done = sight(1, Flight.OVER, ShardStatus.DONE, {"attempt": 1, "allowance": Budget(110)}, calls=100)

    decided = turn(done, Sight(shard(2)), budget=Budget(150))

    assert [each.allowance.calls for each in decided.submit] == [50]


def test_a_shard_that_used_its_allowance_up_is_topped_up_while_something_is_left():
    spent = sight(
        1,
        Flight.OVER,
        ShardStatus.OUT_OF_BUDGET,
        {"attempt": 1, "allowance": Budget(40)},
        settled=38,
        calls=40,
    )

    decided = turn(spent, budget=Budget(60))

    assert [(each.attempt, each.allowance) for each in decided.submit] == [(2, Budget(60))]


def test_it_is_out_of_budget_only_when_nobody_may_give_something_back():
    spent = sight(
        1, Flight.OVER, ShardStatus.OUT_OF_BUDGET, {"attempt": 1, "allowance": Budget(40)}, calls=40
    )
    working = sight(2, Flight.RUNNING, given={"attempt": 1, "allowance": Budget(20)})
    ended = sight(
        2, Flight.OVER, ShardStatus.OUT_OF_BUDGET, {"attempt": 1, "allowance": Budget(20)}, calls=20
    )

    assert turn(spent, working, budget=Budget(60)) == Turn(working=1)
    assert turn(spent, ended, budget=Budget(60)).end == End(
        RunStatus.OUT_OF_BUDGET, "the budget of 60 calls is spent", "calls"
    )


def test_money_is_handed_out_in_whole_calls_and_to_the_last_cent():
    given = allowance(Budget(money=1.05), Budget(0, 0.0), 100, 0.1)

    assert given == Budget(None, 1.0)
    assert uncommitted(Budget(money=1.05), [given]).money == 0.05
    assert allowance(Budget(money=0.05), Budget(0, 0.0), 100, 0.1) is None


def test_a_shard_that_died_under_a_budget_without_that_bound_is_counted_by_its_record():
    died = sight(1, Flight.OVER, ShardStatus.WORKING, settled=30, calls=31)

    decided = turn(died, budget=Budget(101))

    assert [each.allowance.calls for each in decided.submit] == [101]


def test_it_ends_when_the_budget_s_time_is_over():
    over = Budget(until=NOW - timedelta(seconds=1))

    decided = turn(Sight(shard(1)), budget=over)

    assert decided.end is not None
    assert (decided.end.limit, submitted(decided)) == ("until", [])


def test_the_ledger_is_read_back_as_it_was_written(tmp_path: Path):
    home = Home.local(tmp_path)
    written = Ledger(Terms(60.0, 3, "shard/shard", "pool"), {}).with_assignments(
        Assignment(shard(1), 2, Budget(10, 1.5), 4, 5, 1, is_closed=True),
        Assignment(shard(2, ALIYUN), 1, Budget()),
    )

    assert ledger.load(home, "r1") is None
    ledger.save(home, "r1", written)

    assert ledger.load(home, "r1") == written


def test_each_attempt_of_a_shard_has_a_key_of_its_own():
    first = Assignment(shard(7), 1, Budget())

    assert idempotency_key("r1", first) == "r1/tencent/7/1"
    assert idempotency_key("r1", replace(first, attempt=2)) == "r1/tencent/7/2"
