"""Points, shares, money and moments as people type them."""

import argparse
import math
import re
from datetime import UTC, datetime, timedelta


def points(text: str) -> float:
    """`0.1pp`, a precision in percentage points, as a share."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?pp", text)
    if found is None or not 0 < float(found[1]) < 50:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no precision: give percentage points over 0 and under 50, such as 0.1pp"
        )
    return float(found[1]) / 100


def share(text: str) -> float:
    """`0.5%`, as a share."""
    percent = _percent(text)
    if not 0 < percent < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share over 0% and under 100%, such as 0.5%")
    return percent / 100


def confidence(text: str) -> float:
    """`95%`, as a share."""
    percent = _percent(text)
    if not 50 <= percent <= 99.9999:
        raise argparse.ArgumentTypeError(f"{text!r} is no confidence from 50% to 99.9999%, such as 95%")
    return percent / 100


def money(text: str) -> float:
    """`2000`, in the currency of the spec's prices."""
    if not re.fullmatch(r"\d+(?:\.\d+)?", text) or not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no amount over 0: give digits only, such as 2000, in the currency of your prices"
        )
    return float(text)


def minutes(text: str) -> float:
    """`30`, or `0.5`."""
    if not re.fullmatch(r"\d+(?:\.\d+)?", text) or not 0 < float(text) <= 24 * 60:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes over 0 and up to 1440")
    return float(text)


def moment(text: str) -> datetime:
    """`09:00`, the next time this machine's clock says so, or an ISO time with its zone."""
    try:
        if re.fullmatch(r"\d\d?:\d\d", text):
            return _next(int(text.partition(":")[0]), int(text.partition(":")[2]))
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: give 09:00, or a date and time with its zone, 2026-12-01T09:00+08:00"
        ) from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r}: say in which zone, such as {text}+08:00, or {text}Z")
    return found


def _next(hour: int, minute: int) -> datetime:
    now = datetime.now(UTC).astimezone()
    at = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    # By the calendar and not by 24 hours: clocks are put forward and back.
    return min(each for each in (at.astimezone(), (at + timedelta(days=1)).astimezone()) if each > now)


def _percent(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text)
    return math.nan if found is None else float(found[1])
