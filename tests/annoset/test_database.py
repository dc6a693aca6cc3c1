"""LMDBs of AnnotatedDatum: whole or not at all."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest

from annoset import database
from annoset.database import Database, create
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum

ROOT = Path(__file__).resolve().parents[2]


def record(number: int, size: int = 10) -> AnnotatedDatum:
    return AnnotatedDatum(datum=Datum(label=number, data=bytes([number % 256]) * size), type=AnnotatedDatum.BBOX)


def fill(path: Path, count: int = 3, size: int = 10) -> None:
    with create(path) as writer:
        for number in range(count):
            writer.put(f"{number:08d}_ä", record(number, size))


def test_what_is_put_can_be_read(tmp_path):
    fill(tmp_path / "lmdb", 3)
    with Database(tmp_path / "lmdb") as db:
        assert len(db) == 3
        assert list(db.keys()) == ["00000000_ä", "00000001_ä", "00000002_ä"]
        assert [(key, one.datum.label) for key, one in db] == [(f"0000000{n}_ä", n) for n in range(3)]
        assert db["00000002_ä"] == record(2)
        with pytest.raises(
            UserError, match=r'there is no record "gone.udcff"\n  fix: if its keys are listed so, the LMDB'
        ):
            db["gone\udcff"]


def test_the_files_are_those_of_lmdb(tmp_path):
    """SSD-Caffe opens a folder with data.mdb and takes the map's size from it."""
    mask = os.umask(0o022)
    try:
        fill(tmp_path / "lmdb")
    finally:
        os.umask(mask)
    assert os.listdir(tmp_path) == ["lmdb"] and os.listdir(tmp_path / "lmdb") == ["data.mdb"]
    assert (tmp_path / "lmdb").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "lmdb" / "data.mdb").stat().st_mode & 0o777 == 0o644
    with lmdb.open(str(tmp_path / "lmdb"), readonly=True) as environment, environment.begin() as transaction:
        assert transaction.get("00000001_ä".encode()) == record(1).SerializeToString()


def test_the_map_grows_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_FIRST_MAP_SIZE", 1 << 16)
    monkeypatch.setattr(database, "_BATCH_BYTES", 1 << 18)
    fill(tmp_path / "lmdb", 40, 50_000)
    with Database(tmp_path / "lmdb") as db:
        assert [len(one.datum.data) for _, one in db] == [50_000] * 40


def test_two_readers_and_threads(tmp_path):
    fill(tmp_path / "lmdb", 50)
    with Database(tmp_path / "lmdb") as one, Database(tmp_path / "lmdb") as other, ThreadPoolExecutor(8) as threads:
        keys = list(one.keys())
        assert [r.datum.label for r in threads.map(one.__getitem__, keys)] == list(range(50))
        assert [r.datum.label for r in threads.map(other.__getitem__, keys)] == list(range(50))


def test_an_lmdb_is_opened_once_and_closed_with_its_last_reader(tmp_path):
    fill(tmp_path / "lmdb", 3)
    (tmp_path / "link").symlink_to("lmdb")
    one, other = Database(tmp_path / "lmdb"), Database(tmp_path / "link")
    assert one._environment is other._environment
    one.close()
    assert len(list(other)) == 3
    other.close()
    assert (tmp_path / "lmdb" / "data.mdb").stat().st_ino not in {inode for _, inode in database._OPEN}


def test_an_lmdb_made_anew_is_not_mistaken_for_the_old_one(tmp_path):
    fill(tmp_path / "lmdb", 3)
    old = Database(tmp_path / "lmdb")
    shutil.rmtree(tmp_path / "lmdb")
    fill(tmp_path / "lmdb", 5)
    assert (len(Database(tmp_path / "lmdb")), len(old)) == (5, 3)


def test_an_lmdb_that_exists_is_never_touched(tmp_path):
    fill(tmp_path / "lmdb")
    before = (tmp_path / "lmdb" / "data.mdb").read_bytes()
    with pytest.raises(UserError) as error:
        fill(tmp_path / "lmdb", 5)
    assert str(error.value) == f"{tmp_path}/lmdb: this exists already\n  fix: remove it, or choose another path"
    assert (tmp_path / "lmdb" / "data.mdb").read_bytes() == before and os.listdir(tmp_path) == ["lmdb"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, UserError])
def test_nothing_is_left_of_a_block_that_fails(tmp_path, interruption):
    with pytest.raises(interruption), create(tmp_path / "lmdb") as writer:
        writer.put("a", record(0))
        writer.flush()
        raise interruption("stop")
    assert os.listdir(tmp_path) == []


FULL = """
import resource, sys
from annoset.database import create
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with create(sys.argv[1]) as writer:
        for number in range(20):
            writer.put(f"{number:08d}", AnnotatedDatum(datum=Datum(data=bytes(100_000))))
            writer.flush()
except UserError as error:
    print(error)
"""


def test_a_file_that_cannot_grow(tmp_path):
    """The kernel refuses to write on, as it does when the disk is full."""
    pytest.importorskip("resource", reason="limits on a file's size are Unix's")
    command = [sys.executable, "-c", FULL, str(tmp_path / "lmdb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    reason = r"the LMDB cannot be written: [A-Z][a-z/ ]+ \(\d+ MiB of disk space left\)\n  fix: "
    assert re.match(re.escape(f"{tmp_path}/lmdb: ") + reason, done.stdout)
    assert "(ulimit -f) and run the command again; nothing was left at that path" in done.stdout
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("raised", [lmdb.DiskError("mdb_txn_commit: No space left on device"), OSError(28, "No space")])
def test_a_full_disk(tmp_path, monkeypatch, raised):
    def full(self):
        raise raised

    monkeypatch.setattr(database.Writer, "flush", full)
    with pytest.raises(UserError, match=r"cannot be written: No space.*\n  fix: free some disk space"):
        fill(tmp_path / "lmdb")
    assert os.listdir(tmp_path) == []


def test_a_copy_that_was_cut_short(tmp_path):
    """Of which LMDB maps more into memory than there is."""
    fill(tmp_path / "lmdb")
    data = (tmp_path / "lmdb/data.mdb").read_bytes()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/data.mdb").write_bytes(data[:-4096])
    with pytest.raises(UserError) as error:
        Database(tmp_path / "copy")
    assert str(error.value) == (
        f"{tmp_path}/copy: the LMDB is cut short: its data.mdb has {len(data) - 4096} of {len(data)} bytes\n"
        "  fix: copy it again, or make it again with `netgen lmdb`"
    )


def test_a_damaged_page(tmp_path):
    """The root of the records' tree, in both of LMDB's headers: found out when it is read."""
    fill(tmp_path / "lmdb")
    with (tmp_path / "lmdb/data.mdb").open("r+b") as file:
        for header in (0, mmap.PAGESIZE):
            file.seek(header + 128)
            file.write((10**6).to_bytes(8, "little"))
    message = re.escape(f"{tmp_path}/lmdb: cannot be read as an LMDB: Requested page not found\n  fix: make it again")
    with Database(tmp_path / "lmdb") as damaged:
        for read in (lambda: list(damaged), lambda: list(damaged.keys()), lambda: damaged["a"]):
            with pytest.raises(UserError, match=message):
                read()


def test_a_failed_creation_leaves_no_new_parents(tmp_path):
    (tmp_path / "there").mkdir()
    for parent in ("there", "new/er"):
        with pytest.raises(ZeroDivisionError), database.create(tmp_path / parent / "lmdb"):
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["there"]


def test_a_parent_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/lmdb: cannot be written: Not a directory"):
        fill(tmp_path / "file" / "lmdb")
    fill(tmp_path / "a" / "b" / "lmdb")
    assert len(Database(tmp_path / "a" / "b" / "lmdb")) == 3


def test_a_key_longer_than_lmdb_allows(tmp_path):
    message = r"the key has 512 bytes: ä+; expected at most 511, LMDB's limit"
    with pytest.raises(UserError, match=message), create(tmp_path / "lmdb") as writer:
        writer.put("ä" * 256, record(0))
    with create(tmp_path / "lmdb") as writer:
        writer.put("ä" * 255 + "a", record(0))


def make_level_db(path: Path) -> None:
    path.mkdir()
    (path / "CURRENT").write_text("MANIFEST-000001\n")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "there is no LMDB here"),
        (lambda path: path.mkdir(), "this folder holds no LMDB (no data.mdb)"),
        (lambda path: path.write_text("a"), "this is a file, not an LMDB's folder"),
        (make_level_db, "this is a LevelDB, not an LMDB"),
    ],
)
def test_there_is_no_lmdb(tmp_path, make, found):
    make(tmp_path / "db")
    with pytest.raises(UserError) as error:
        Database(tmp_path / "db")
    assert str(error.value) == f"{tmp_path}/db: {found}\n  fix: make it with `netgen lmdb`"


@pytest.mark.parametrize("data", [b"<!DOCTYPE html>" * 1000, b"", b"\0" * 10])
def test_a_file_that_is_no_lmdb(tmp_path, data):
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as an LMDB: "):
        Database(tmp_path)


def test_an_lmdb_without_records(tmp_path):
    fill(tmp_path / "lmdb", 0)
    with pytest.raises(UserError, match="lmdb: the LMDB holds no records; expected at least one"):
        Database(tmp_path / "lmdb")


def test_a_record_that_is_no_annotated_datum(tmp_path):
    with lmdb.open(str(tmp_path / "lmdb")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a", record(0, 100).SerializeToString()[:50])
    with (
        Database(tmp_path / "lmdb") as db,
        pytest.raises(UserError, match='the 50 bytes of record "a" are no Annotated'),
    ):
        db["a"]
