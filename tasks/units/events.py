"""What a run says in logs: one line for each change of state, an event with its fields.

`shard_done provider=tencent shard=3 settled=9000 failed=2`. Never a line for each object: a line costs the
server a row. A value with blanks or quotes is written as a JSON string, so that a line can be taken apart.
No field ever holds a credential, a url's query or the name of an object.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from domain.runs import Progress
from domain.verdicts import Provider

EVENTS = {
    "run_planned": "a plan became a run: nothing is asked yet",
    "run_opened": "a process begins to work on a run",
    "shard_begun": "a shard's questions are asked from now on",
    "shard_done": "each question of a shard has its final row; the counts are the provider's, so far",
    "shard_stopped": "a worker left a shard of a backfill before it was done; its record says the same",
    "lane_throttled": "a provider turned calls away: at most one line a minute, with how many since the last",
    "trouble_begun": "the home takes no file just now, or Prefect's server gives no share: the reason",
    "trouble_over": "and that it is over",
    "run_ended": "this process no longer works on the run; `status` says why",
    "metrics_served": "where Prometheus may read",
    "metrics_not_served": "why it may not; the run goes on",
    "prefect_not_told": "Prefect's server did not take what its UI would have shown; the run goes on",
}
"""Every event there is, and what it means."""

WARNINGS = ("lane_throttled", "trouble_begun", "metrics_not_served", "prefect_not_told")

BY_NOBODY = logging.getLogger("facesweep")


def say(event: str, **fields: object) -> None:
    """Log one event, as the flow or task run it happens in; fields that are None are left out.

    On a terminal, where logging is off, a configured Prefect server hears of it all the same.
    """
    assert event in EVENTS, event  # noqa: S101 - a word of ours
    level = logging.WARNING if event in WARNINGS else logging.INFO
    sentence = line(event, fields)
    try:
        run_logger = get_run_logger()
    except MissingContextError:
        BY_NOBODY.log(level, "%s", sentence)
        return
    if logging.root.manager.disable < level:
        run_logger.log(level, "%s", sentence)
        return
    logger = run_logger.logger if isinstance(run_logger, logging.LoggerAdapter) else run_logger
    extra = run_logger.extra if isinstance(run_logger, logging.LoggerAdapter) else None
    record = logger.makeRecord(
        logger.name, level, __file__, 0, "%s", (sentence,), None, extra=dict(extra or {})
    )
    for handler in logger.handlers:  # the server's; the terminal's is the root's
        handler.handle(record)


def line(event: str, fields: Mapping[str, object]) -> str:
    """The event and its fields as one line."""
    return " ".join(
        [event, *(f"{name}={_shown(value)}" for name, value in fields.items() if value is not None)]
    )


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    text = str(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return json.dumps(text, ensure_ascii=False)


THROTTLED_EVERY_S = 60.0


class Changes:
    """What of a run's progress is worth a line: said when it changes, not while it lasts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._trouble: str | None = None
        self._throttled: dict[Provider, int] = {}  # said so far
        self._said_at: dict[Provider, float] = {}

    def note(self, progress: Progress) -> None:
        """To be called every few seconds."""
        if progress.trouble != self._trouble:
            if progress.trouble is not None:
                say("trouble_begun", run=progress.run_id, reason=progress.trouble)
            else:
                say("trouble_over", run=progress.run_id)
            self._trouble = progress.trouble
        now = self._clock()
        for each in progress.providers:
            more = each.throttled - self._throttled.get(each.provider, 0)
            if more > 0 and now - self._said_at.get(each.provider, -math.inf) >= THROTTLED_EVERY_S:
                say(
                    "lane_throttled",
                    provider=each.provider,
                    throttled=more,
                    rate_per_s=each.rate_per_s,
                    cap_per_s=each.cap_per_s,
                )
                self._throttled[each.provider] = each.throttled
                self._said_at[each.provider] = now
