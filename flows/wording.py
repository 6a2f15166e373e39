"""Texts, times and numbers as people read them."""

from datetime import datetime


def shown(text: str) -> str:
    """Text of a bucket's making as one harmless line: control characters are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def duration(hours: float) -> str:
    """Hours, as people plan by them; seconds or minutes where it is less than one."""
    if hours < 1:
        return f"{hours * 3600:,.0f} s" if hours < 1 / 30 else f"{hours * 60:,.0f} min"
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h ({hours / 24:,.1f} days)"


def moment(at: datetime) -> str:
    """In this machine's zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M %Z}"


def percent(share: float) -> str:
    """A share, to a hundredth of a point; small ones finer."""
    return f"{100 * share:.2f} %" if share >= 0.001 or share == 0 else f"{100 * share:.4f} %"


def points(half_width: float) -> str:
    """What an interval adds to either side of a share, in percentage points."""
    return f"±{100 * half_width:.2f} points" if half_width >= 0.001 else f"±{100 * half_width:.2g} points"
