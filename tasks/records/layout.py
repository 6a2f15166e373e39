"""The journal file: its tables, how it is created, and how it is told from any other file.

calls      announced calls whose question is not settled: after a crash, calls in doubt; `free` ones
           are known not to be billed
claims     which question asks about which content, so that copies share one call
answers    one row for each settled question, for ever: identity and outcome
bodies     the answers themselves, until a Parquet part holds them
parts      which answers belong to which part
books      running sums, so that a status costs nothing however long the run
withdrawn  calls that were made and have no answer here: turned away, or known from elsewhere
"""

import sqlite3
from pathlib import Path

from domain.errors import UsageError
from domain.verdicts import SCHEMA_VERSION
from tasks.records.durable import make_folders, sync_folder

APPLICATION_ID = 0x66535750  # "fSWP" in the file's header: tells our journals from other databases
LAYOUT_VERSION = 2
CHECKED_BYTES = 64 * 1024 * 1024  # a full check reads the whole file: only while that is quick

_LAYOUT = """
CREATE TABLE identity (
    run_id TEXT NOT NULL, schema_version INTEGER NOT NULL, begun INTEGER NOT NULL DEFAULT 0);
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY, question BLOB NOT NULL, provider TEXT NOT NULL,
    attempt INTEGER NOT NULL, order_no TEXT NOT NULL, content BLOB, intended_at TEXT NOT NULL,
    free INTEGER NOT NULL DEFAULT 0);
CREATE INDEX calls_of_question ON calls (question);
CREATE TABLE claims (
    provider TEXT NOT NULL, content BLOB NOT NULL, question BLOB NOT NULL,
    PRIMARY KEY (provider, content)) WITHOUT ROWID;
CREATE TABLE answers (
    question BLOB PRIMARY KEY, provider TEXT NOT NULL, outcome TEXT NOT NULL,
    seq INTEGER, part INTEGER) WITHOUT ROWID;
CREATE TABLE bodies (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX bodies_of_provider ON bodies (provider, seq);
CREATE TABLE parts (
    provider TEXT NOT NULL, number INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, row_count INTEGER NOT NULL, published INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, number)) WITHOUT ROWID;
CREATE TABLE books (
    provider TEXT NOT NULL, outcome TEXT NOT NULL, billed TEXT NOT NULL,
    questions INTEGER NOT NULL, calls INTEGER NOT NULL, charged INTEGER NOT NULL,
    throttled INTEGER NOT NULL, cost REAL,
    PRIMARY KEY (provider, outcome, billed)) WITHOUT ROWID;
CREATE TABLE withdrawn (
    provider TEXT PRIMARY KEY, calls INTEGER NOT NULL, charged INTEGER NOT NULL) WITHOUT ROWID;
"""


# A full disk, a broken one, permissions, somebody who holds the file: its content may be perfectly well.
_OUT_OF_REACH = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
    }
)


class NeverBegan(UsageError):
    """The journal has no tables yet: whoever made it was stopped before its first commit."""


def open_writer(path: Path, run_id: str) -> sqlite3.Connection:
    """A connection to the run's journal, made if it is not there, in which every commit is on disk.

    Raises:
        UsageError: the file cannot be opened, is damaged, is not a journal, is another run's, or
            was written by another version; names the file and what to do.
    """
    try:
        make_folders(path.parent)
        sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise _out_of_reach(path, error) from None
    try:
        is_new = recognise(sql, path, run_id)
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = FULL")
        if is_new:
            _create(sql, run_id)
            sync_folder(path.parent)
        elif path.stat().st_size <= CHECKED_BYTES:
            _check(sql)
    except sqlite3.Error as error:
        sql.close()
        raise refusal(path, error) from None
    except BaseException:
        sql.close()
        raise
    return sql


def open_reader(path: Path, run_id: str | None = None) -> sqlite3.Connection:
    """A connection that reads what is committed, also while another process writes.

    Raises:
        NeverBegan: there is one, without a table.
        UsageError: there is no journal, or it is out of reach, damaged or foreign; names the file.
    """
    if not path.is_file():
        raise UsageError(f"there is no journal {path}")
    address = f"{path.absolute().as_uri()}?mode=ro"
    sql = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        is_empty = recognise(sql, path, run_id)
    except sqlite3.Error as error:
        sql.close()
        # Only the very first transaction has a rollback journal: a writer will undo it.
        if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
            raise NeverBegan(
                f"the journal {path} was never begun: its first commit is to be undone"
            ) from None
        raise refusal(path, error) from None
    except BaseException:
        sql.close()
        raise
    if is_empty:
        sql.close()
        raise NeverBegan(f"the journal {path} is empty: its run never began")
    return sql


def recognise(sql: sqlite3.Connection, path: Path, run_id: str | None) -> bool:
    """Whether the file is still empty; anything but an empty file or a fitting journal is refused.

    Raises:
        UsageError: not a journal, another run's (where `run_id` is given), or another version's.
        sqlite3.Error: the file is no database at all.
    """
    (application_id,) = sql.execute("PRAGMA application_id").fetchone()
    (layout,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and layout == 0 and tables == 0:
        return True
    if application_id != APPLICATION_ID:
        raise UsageError(f"{path} is a database, but not a journal of facesweep: move it away")
    owner, schema_version = sql.execute("SELECT run_id, schema_version FROM identity").fetchone()
    if (layout, schema_version) != (LAYOUT_VERSION, SCHEMA_VERSION):
        raise UsageError(
            f"the journal {path} was written by another version of facesweep (layout {layout}, "
            f"schema {schema_version}): finish its run with that version"
        )
    if run_id is not None and owner != run_id:
        raise UsageError(f"the journal {path} belongs to run {owner}, not to {run_id}")
    return False


def refusal(path: Path, error: sqlite3.Error) -> UsageError:
    """The sentence for a file that SQLite cannot get at, or cannot make sense of."""
    # The low byte of a code is its kind; the rest says where SQLite met it.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUT_OF_REACH:
        return _out_of_reach(path, error)
    return UsageError(
        f"{path} is damaged or not a journal of facesweep ({error}): restore it from a copy or move it away"
    )


def _out_of_reach(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"the journal {path} cannot be opened ({error}): make room on its disk or mend its permissions; "
        "what it holds is not lost"
    )


def _create(sql: sqlite3.Connection, run_id: str) -> None:
    sql.executescript(
        f"BEGIN IMMEDIATE; {_LAYOUT} PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {LAYOUT_VERSION};"
    )
    sql.execute("INSERT INTO identity (run_id, schema_version) VALUES (?, ?)", (run_id, SCHEMA_VERSION))
    sql.execute("COMMIT")


def _check(sql: sqlite3.Connection) -> None:
    (finding,) = sql.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise sqlite3.DatabaseError(finding)
