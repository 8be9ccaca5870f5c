"""MemoryStore: a bounded memory of texts with full-text search, in SQLite."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry", "MemoryStore"]

APPLICATION_ID = 0x47594D4D  # "GYMM": marks a file as one of ours
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A text, the day it was stored on, and the labels it was stored under ("": none)."""

    content: str
    day: int
    topic: str = ""
    category: str = ""


class MemoryStore:
    """Up to `capacity` entries, of which the oldest leaves when another comes.

    Without a path it lives as long as the object. With one it is a file, which belongs to one store at a time: SQLite's own
    lock, held until `close()` or the end of the process, however that comes. Every call is one transaction (write-ahead log), so
    that a process killed in the middle of one leaves the file as it was before that call. A power failure may cost the last
    calls, never the file.

    Beside the entries there is a journal, a list of lines for the store's owner, which no search finds.

    Raises RuntimeError if another store has the file open, ValueError if the file is something else or holds more than
    `capacity` entries.
    """

    def __init__(self, capacity: int, path: str | Path | None = None):
        if capacity < 1:
            raise ValueError(f"capacity={capacity}; a memory holds at least 1 entry")
        self.capacity, self.path = capacity, None if path is None else Path(path)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever steps an environment may do so from any thread, one at a time.
        self._connection = sqlite3.connect(self.path or ":memory:", timeout=0, check_same_thread=False, isolation_level=None)
        self._process = os.getpid()
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM entries").fetchone()[0]

    def add(self, entry: Entry) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT INTO entries (content, topic, category, day) VALUES (?, ?, ?, ?)",
                (entry.content, entry.topic, entry.category, entry.day),
            )
            # Only the oldest ever leave, so the row numbers have no holes.
            self._db.execute(
                "DELETE FROM entries WHERE rowid <= (SELECT rowid FROM entries ORDER BY rowid DESC LIMIT 1) - ?",
                (self.capacity,),
            )

    def search(
        self,
        words: str = "",
        *,
        topic: str | None = None,
        category: str | None = None,
        days: tuple[int, int] | None = None,  # the first and the last, both included
        limit: int = 3,
    ) -> list[Entry]:
        """Up to `limit` entries with these labels (capitals do not matter) and of these days: those that hold all the words,
        newest first, then those that hold some of them, best first (BM25, sqlite.org/fts5.html). Words match in content and
        labels, whatever their endings (Porter's stemmer). Without words, the newest entries."""
        terms = [f'"{word}"' for word in WORD.findall(words)]
        conditions: list[tuple[str, list[str | int]]] = []
        if topic is not None:
            conditions.append(("topic = ? COLLATE NOCASE", [topic]))
        if category is not None:
            conditions.append(("category = ? COLLATE NOCASE", [category]))
        if days is not None:
            conditions.append(("day BETWEEN ? AND ?", list(days)))
        if not terms:
            return self._select(conditions, "rowid DESC", limit) if not words.strip() else []
        found = self._select([("entries MATCH ?", [" AND ".join(terms)]), *conditions], "rowid DESC", limit)
        if len(terms) > 1 and len(found) < limit:
            some = self._select(
                [("entries MATCH ?", [" OR ".join(terms)]), *conditions], "rank, rowid DESC", limit + len(found)
            )
            found += [entry for entry in some if entry not in found]
        return found[:limit]

    def log(self, line: str) -> None:
        """Adds a line to the journal, which keeps the newest `capacity`."""
        with self._transaction():
            self._db.execute("INSERT INTO journal (line) VALUES (?)", (line,))
            self._db.execute("DELETE FROM journal WHERE id <= (SELECT max(id) FROM journal) - ?", (self.capacity,))

    def journal(self) -> list[str]:
        """The lines that `log` was given, oldest first."""
        return [line for (line,) in self._db.execute("SELECT line FROM journal ORDER BY id")]

    def clear(self) -> None:
        """No entry and no line is left."""
        with self._transaction():
            self._db.execute("DELETE FROM entries")
            self._db.execute("DELETE FROM journal")

    def close(self) -> None:
        self._db.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self.path is not None and os.getpid() != self._process:
            raise RuntimeError(f"the memory {self.path} was opened by process {self._process}, of which this one, {os.getpid()}, is a copy "
                               "(fork), and both would write to it; make the environment in the process that plays it")  # fmt: skip
        return self._connection

    def _select(self, conditions: list[tuple[str, list[str | int]]], order: str, limit: int) -> list[Entry]:
        where = " AND ".join(text for text, _ in conditions) or "true"
        values = [value for _, some in conditions for value in some]
        rows = self._db.execute(
            f"SELECT content, day, topic, category FROM entries WHERE {where} ORDER BY {order} LIMIT ?", (*values, limit)
        )
        return [Entry(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield

    def _open(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # the lock is kept after the first transaction
            new = self._is_new()  # before anything is written
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if new:
                self._make_tables()
        except sqlite3.DatabaseError as error:  # OperationalError is one
            if "locked" in str(error):
                raise RuntimeError(f"the memory {self.path} is in use by another environment (or one that was not closed), in this or in "
                                   "another process; give each environment a memory_path of its own, or None, or call close() on the "
                                   "other one first") from error  # fmt: skip
            if "not a database" in str(error):
                raise self._strange("not one of SQLite") from error
            if "fts5" in str(error):
                raise RuntimeError(f"SQLite {sqlite3.sqlite_version} of this Python was built without its full-text search, FTS5; use "
                                   "a Python whose SQLite has it, as those of python.org, conda and Debian") from error  # fmt: skip
            raise
        if len(self) > self.capacity:
            raise ValueError(f"{self.path} holds {len(self)} entries, more than memory_size={self.capacity}; the oldest would be lost. Say "
                             f"memory_size={len(self)}, or name another memory_path")  # fmt: skip

    def _is_new(self) -> bool:
        """Whether the database is empty. ValueError if it is somebody else's."""
        mark = self._db.execute("PRAGMA application_id").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != APPLICATION_ID and (mark or tables):
            raise self._strange("a database of another program")
        return not tables

    def _make_tables(self) -> None:
        with self._transaction():
            self._db.execute(
                "CREATE VIRTUAL TABLE entries USING fts5 (content, topic, category, day UNINDEXED, tokenize = 'porter unicode61')"
            )
            self._db.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, line TEXT NOT NULL)")
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _strange(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path} is no memory but {what}; name a memory_path that is free, or one that a MemoryBufferEnv made"
        )
