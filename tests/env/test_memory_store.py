"""The memory: what is found, what leaves, and what a crash leaves behind."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gymformer.env.memory_store
from gymformer.env.memory_store import Entry, MemoryStore

HATS = [
    Entry("Mia's hat is red.", 1, "Mia", "hat"),
    Entry("Tom's hat is blue.", 1, "Tom", "hat"),
    Entry("Mia has two dogs.", 2, "Mia", "pet"),
    Entry("Mia's hat is green, not red.", 4, "Mia", "hat"),
]


@pytest.fixture
def memory():
    store = MemoryStore(10)
    for entry in HATS:
        store.add(entry)
    yield store
    store.close()


def test_entries_with_all_the_words_come_first_and_the_newest_of_these_before_all(memory):
    red, blue, dogs, green = HATS
    assert memory.search("Mia hat", limit=9) == [green, red, dogs, blue]  # both words; then one, the rarer one first
    assert memory.search("MIA HATS", limit=2) == [green, red]  # neither capitals nor endings matter
    assert memory.search("dog") == [dogs]
    assert memory.search("violin") == []


def test_labels_and_days_filter(memory):
    red, blue, dogs, green = HATS
    assert memory.search(topic="mia") == [green, dogs, red]
    assert memory.search(topic="Mia", category="hat") == [green, red]
    assert memory.search("red", days=(1, 2)) == [red]
    assert memory.search(days=(1, 1)) == [blue, red]
    assert memory.search(days=(2, 4), limit=1) == [green]
    assert memory.search("hat", topic="Mia", days=(1, 3)) == [red]


def test_the_oldest_leaves():
    store = MemoryStore(3)
    for day in range(7):
        store.add(Entry(f"thing {day}", day))
        assert len(store) == min(day + 1, 3)
    assert [entry.day for entry in store.search(limit=9)] == [6, 5, 4]
    assert store.search("thing 3", limit=9) == store.search("thing", limit=9)  # 3 is not found any more
    store.clear()
    store.add(Entry("new", 9))
    assert store.search() == [Entry("new", 9)]


def test_the_journal_is_found_by_no_search_and_keeps_the_newest():
    store = MemoryStore(2)
    for line in ("one secret", "two secrets", "three secrets"):
        store.log(line)
    assert store.journal() == ["two secrets", "three secrets"]
    assert store.search("secret") == store.search() == [] and len(store) == 0
    store.clear()
    assert store.journal() == []


ANYTHING = MemoryStore(2)


@given(st.text(max_size=30))
def test_any_text_can_be_stored_and_any_text_is_a_query(text):
    entry = Entry(text, 1)
    ANYTHING.add(entry)
    assert ANYTHING.search(limit=1) == [entry]
    found = ANYTHING.search(text, limit=1)
    if text.isascii() and any(char.isalnum() for char in text):
        assert found == [entry]


@pytest.mark.parametrize(
    "query", ['"', 'a" OR "b', "NEAR(a b)", "a AND", "NOT", "content: x", "*", "-a", "^a", "a'; DROP TABLE entries; --"]
)
def test_operators_of_the_search_language_are_just_words(memory, query):
    memory.search(query)
    assert len(memory) == len(HATS)


def test_a_file_lasts(tmp_path):
    path = tmp_path / "folder" / "memory.sqlite"
    store = MemoryStore(10, path)
    for entry in HATS:
        store.add(entry)
    store.log("a line")
    store.close()
    again = MemoryStore(10, path)
    assert again.search("Mia hat", limit=9)[:2] == [HATS[3], HATS[0]]
    assert again.journal() == ["a line"]
    again.close()


WRITER = """
import sys
from memory_store import Entry, MemoryStore  # the file alone, which takes no time
store = MemoryStore(1000, sys.argv[1])
for number in range(20):
    store.add(Entry(f"thing {number}", number))
"""


PROCESS = {"env": os.environ | {"PYTHONPATH": str(Path(gymformer.env.memory_store.__file__).parent)}, "text": True}


def until_it_says_so_and_is_killed(code: str, path, lines: int) -> list[str]:
    """The first lines that a process writes; then it is killed, with no chance to tidy up."""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, **PROCESS)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(lines)]
    process.kill()
    process.wait()
    process.stdout.close()
    return said


def test_a_process_killed_in_mid_write_leaves_what_was_there_before_that_write(tmp_path):
    path = tmp_path / "memory.sqlite"
    halfway = """
with store._transaction():
    store._db.execute("DELETE FROM entries")
    store._db.executemany("INSERT INTO entries (content, day) VALUES (?, 0)", [("half " * 5000,)] * 300)  # more than the cache holds
    print("halfway", flush=True)
    sys.stdin.read()
"""
    assert until_it_says_so_and_is_killed(WRITER + halfway, path, 1) == ["halfway"]
    store = MemoryStore(1000, path)
    assert [entry.content for entry in store.search(limit=99)] == [f"thing {number}" for number in reversed(range(20))]
    assert len(store.search("thing", limit=99)) == 20 and store.search("half") == []
    store._db.execute("INSERT INTO entries (entries) VALUES ('integrity-check')")  # raises where the index does not fit
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_what_a_killed_process_had_said_to_be_stored_is_stored(tmp_path):
    path = tmp_path / "memory.sqlite"
    busy = """
for number in range(20, 10_000_000):
    store.add(Entry(f"thing {number}", number))
    print(number, flush=True)
"""
    last = int(until_it_says_so_and_is_killed(WRITER + busy, path, 200)[-1])
    store = MemoryStore(1000, path)
    days = [entry.day for entry in store.search(limit=1000)]
    assert days[0] >= last and days == list(range(days[0], max(days[0] - 1000, -1), -1))
    store.close()


def test_a_file_belongs_to_one_store_at_a_time(tmp_path):
    path = tmp_path / "memory.sqlite"
    first = MemoryStore(10, path)
    with pytest.raises(RuntimeError, match=r"memory.sqlite is in use by another environment.*memory_path of its own"):
        MemoryStore(10, path)
    first.add(HATS[0])  # and the first one is none the worse for it
    other = subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, check=False, **PROCESS)
    assert other.returncode and "is in use by another environment" in other.stderr
    first.close()
    second = MemoryStore(10, path)
    assert second.search() == [HATS[0]]
    second.close()


def test_a_copy_of_the_process_does_not_write_to_the_same_file(tmp_path, monkeypatch):
    store = MemoryStore(10, tmp_path / "memory.sqlite")
    with monkeypatch.context() as patch:
        patch.setattr("gymformer.env.memory_store.os.getpid", lambda: 1)
        with pytest.raises(RuntimeError, match="make the environment in the process that plays it"):
            store.add(HATS[0])
    assert len(store) == 0
    store.close()


def test_somebody_elses_file_is_left_alone(tmp_path):
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("These are my notes. " * 100)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE entries (mine)")
    connection.close()
    before = database.read_bytes()
    with pytest.raises(ValueError, match=r"notes.txt is no memory but not one of SQLite; name a memory_path that is free"):
        MemoryStore(10, text)
    with pytest.raises(ValueError, match=r"other.sqlite is no memory but a database of another program"):
        MemoryStore(10, database)
    assert text.read_text() == "These are my notes. " * 100
    assert database.read_bytes() == before


def test_a_memory_that_would_lose_entries_is_not_opened(tmp_path):
    path = tmp_path / "memory.sqlite"
    store = MemoryStore(10, path)
    for entry in HATS:
        store.add(entry)
    store.close()
    with pytest.raises(ValueError, match="holds 4 entries, more than memory_size=3"):
        MemoryStore(3, path)
    MemoryStore(4, path).close()
    with pytest.raises(ValueError, match="capacity=0"):
        MemoryStore(0)
