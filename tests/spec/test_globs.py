"""Globs: which keys a pattern means."""

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import UsageError
from tasks.candidates.globs import to_regex
from tasks.candidates.vocabulary import literal


def matches(glob: str, key: str) -> bool:
    return re.fullmatch(to_regex([glob]), key) is not None


def matches_by_hand(glob: str, key: str) -> bool:
    """The promise, said without regular expressions, for globs without a malformed class."""
    if not glob:
        return not key
    if glob[0] == "*":
        return any(matches_by_hand(glob[1:], key[at:]) for at in range(len(key) + 1))
    if not key:
        return False
    rest = 1
    if glob[0] == "?":
        fits = True
    elif glob[0] == "[":
        negated = glob[1] == "!"
        start = 2 if negated else 1
        rest = glob.index("]", start + 1) + 1
        fits = in_class(glob[start : rest - 1], key[0]) != negated
    else:
        fits = same_letter(glob[0], key[0])
    return fits and matches_by_hand(glob[rest:], key[1:])


def in_class(members: str, char: str) -> bool:
    found = False
    while members:
        if len(members) >= 3 and members[1] == "-":
            others = {char, char.swapcase()} if char.isascii() else {char}
            found |= any(members[0] <= other <= members[2] for other in others)
            members = members[3:]
        else:
            found |= same_letter(members[0], char)
            members = members[1:]
    return found


def same_letter(pattern: str, char: str) -> bool:
    return char in (pattern, pattern.lower(), pattern.upper())


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.jpg", "selfies/2024/IMG_1.JPG"),
        ("*.JPG", "img_1.jpg"),
        ("selfies/*.jpg", "selfies/a/b/c.jpg"),
        ("*/thumbs/*", "kyc/thumbs/1.jpg"),
        ("*.jpg", "two\nlines.jpg"),
        ("a?b", "a\nb"),
        ("a?b", "a\N{GRINNING FACE}b"),
        ("[abc].png", "B.png"),
        ("[a-c].png", "B.png"),
        ("[!a-c].png", "d.png"),
        ("[]x].png", "].png"),
        ("[[]x].png", "[x].png"),
        ("a+(b).png", "a+(b).png"),
        ("straße/ä*", "straße/Ä.jpg"),
        ("*", ""),
    ],
)
def test_a_glob_means_the_whole_key_in_either_case(glob: str, key: str) -> None:
    assert matches(glob, key)


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.jpg", "a.jpg.txt"),
        ("*.jpg", "a.jpg\n"),
        ("a.jpg", "aXjpg"),
        ("a.jpg", "kyc/a.jpg"),
        ("a?b", "ab"),
        ("a?b", "axxb"),
        ("[!a-c].png", "B.png"),
        ("[!abc].png", ".png"),
        ("{a,b}.png", "a.png"),
        ("a\\*", "ab"),
    ],
)
def test_a_glob_means_nothing_else(glob: str, key: str) -> None:
    assert not matches(glob, key)


@pytest.mark.parametrize("glob", ["a[bc", "[", "[!", "[]", "[!]", "*.[jJ", "[z-a].jpg", "[c-a-x]"])
def test_a_malformed_glob_is_named(glob: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f'"{glob}"')):
        to_regex(["*.jpg", glob])


def test_an_empty_glob_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        to_regex([""])


def test_no_glob_matches_no_key() -> None:
    assert not any(re.fullmatch(to_regex([]), key) for key in ("", "a.jpg"))


# Letters whose case is hard: sharp s, long s, dotted and dotless i, Kelvin sign, sigmas.
CHARS = st.sampled_from([*"aAbBzZk-!]^\\./*?", "\n", "\0", *"ßſİıKςσΣä", "\N{GRINNING FACE}"])
CLASS = st.builds(
    lambda negated, members: f"[{'!' if negated else ''}{members}]",
    st.booleans(),
    st.sampled_from(["a", "]a", "a-c", "A-Z", "k-", "-a", "a^", "^", "äß", "!a", "+-z", "\\", "a\n"]),
)
GLOBS = st.lists(CHARS.filter(lambda char: char != "[") | CLASS, min_size=1, max_size=6).map("".join)
KEYS = st.text(CHARS, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(GLOBS, min_size=1, max_size=3), st.lists(KEYS, min_size=1, max_size=40))
def test_duckdb_and_python_read_a_glob_as_it_is_meant(globs: list[str], keys: list[str]) -> None:
    """Two engines and a plain reading agree on every key, control and case-bending letters included."""
    expression = to_regex(globs)
    by_hand = [any(matches_by_hand(glob, key) for glob in globs) for key in keys]

    with duckdb.connect() as connection:
        by_duckdb = connection.execute(
            f"SELECT regexp_full_match(unnest($keys), {literal(expression)})", {"keys": keys}
        ).fetchall()

    assert [row[0] for row in by_duckdb] == by_hand
    assert [re.fullmatch(expression, key) is not None for key in keys] == by_hand
