"""Globs over whole keys, as regular expressions that RE2 (DuckDB) and Python read alike.

    *       any run of characters, "/" and newline included
    ?       any one character
    [abc]   one of these; ranges as in [a-z]; a "]" right after the "[" or "[!" is one of them
    [!abc]  any one character but these

Everything else stands for itself, in either case: cameras write IMG_1.JPG where people write "*.jpg".
Case is spelled out as classes instead of left to a flag, because the two engines fold case differently
outside ASCII. A range folds its ASCII letters only.
"""

import string
from collections.abc import Iterable

from domain.errors import UsageError

_PUNCTUATION = frozenset(string.punctuation)


def to_regex(globs: Iterable[str]) -> str:
    """One expression that matches a whole key exactly where any of the globs does.

    One expression rather than one each: RE2 then reads a key once, however many globs there are.
    Without globs it matches nothing.

    Raises:  UsageError: a glob is malformed; it is named.
    """
    alternatives = [_translate(glob) for glob in globs]
    return f"(?s)(?:{'|'.join(alternatives)})" if alternatives else r"(?s)[^\s\S]"


def _translate(glob: str) -> str:
    if not glob:
        raise UsageError('the glob "" is empty and matches no object: leave it out')
    parts: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            parts.append(".*")
        elif char == "?":
            parts.append(".")
        elif char == "[":
            char_class, at = _translate_class(glob, at)
            parts.append(char_class)
        else:
            parts.append(_either_case(char))
    return "".join(parts)


def _translate_class(glob: str, at: int) -> tuple[str, int]:
    """The class that starts after the "[" before `at`, and where the glob goes on."""
    negated = glob.startswith("!", at)
    first = at + 1 if negated else at
    end = glob.find("]", first + 1)
    if end < 0:
        raise UsageError(
            f'the glob "{glob}" opens a "[" that no "]" closes: close it, or write "[[]" for the sign'
        )
    members: list[str] = []
    at = first
    while at < end:
        if at + 2 < end and glob[at + 1] == "-":
            members.append(_range(glob, glob[at], glob[at + 2]))
            at += 3
        else:
            members.extend(_escape(char) for char in _cases(glob[at]))
            at += 1
    return f"[{'^' if negated else ''}{''.join(members)}]", end + 1


def _range(glob: str, low: str, high: str) -> str:
    if low > high:
        raise UsageError(f'the glob "{glob}" holds the range "{low}-{high}", which runs backwards')
    spans = [(low, high)]
    for own, other in (
        (string.ascii_lowercase, string.ascii_uppercase),
        (string.ascii_uppercase, string.ascii_lowercase),
    ):
        inside = [index for index, letter in enumerate(own) if low <= letter <= high]
        if inside:
            spans.append((other[inside[0]], other[inside[-1]]))
    return "".join(f"{_escape(start)}-{_escape(end)}" for start, end in spans)


def _either_case(char: str) -> str:
    cases = _cases(char)
    return _escape(char) if len(cases) == 1 else f"[{''.join(map(_escape, cases))}]"


def _cases(char: str) -> list[str]:
    """The character, its lower and its upper case, where these are single characters."""
    return sorted({case for case in (char, char.lower(), char.upper()) if len(case) == 1})


def _escape(char: str) -> str:
    if char in _PUNCTUATION:
        return "\\" + char
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\x{ord(char):02x}"  # a NUL would end the SQL text, a newline the reader's patience
    return char
