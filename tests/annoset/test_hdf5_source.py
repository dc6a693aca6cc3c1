"""HDF5Data layers: rows in order over several files, shuffling, restarts, each mistake of a list or a file."""

from __future__ import annotations

from collections import Counter

import h5py
import numpy as np
import pytest

from annoset.sources.hdf5_data import HDF5DataSource
from annoset.sources.order import Order
from prototxt.errors import UserError

ROWS = 'name: "rows" type: "HDF5Data" top: "x" top: "y" hdf5_data_param {{ source: "list.txt" batch_size: {batch} }}'


def x(rows) -> np.ndarray:
    """What row k of all files holds in x, [rows, 2, 3] float32."""
    return np.float32([[[k, k + 0.25, k + 0.5], [-k, 0, 1]] for k in rows])


@pytest.fixture
def folder(tmp_path):
    """Rows 0–2, 3–4 and 5–9 of `x` and `y` in three files; y is ten times the row's number."""
    for name, rows in (("a", range(3)), ("b", range(3, 5)), ("c", range(5, 10))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = x(rows).astype(np.float64)
            file["y"] = np.array(rows, np.int32) * 10
            file["unread"] = ["text"]
    (tmp_path / "list.txt").write_text("a.h5 b.h5\n\nc.h5")
    return tmp_path


@pytest.fixture
def source(folder, layer_of):
    opened = []

    def make(*texts: str, batch: int = 4, seed: int = 1, **options) -> HDF5DataSource:
        opened.append(HDF5DataSource(layer_of(ROWS.format(batch=batch), *texts), seed, folder, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def numbers(batch) -> list[int]:
    """The rows of a batch, whose x must be that of its y."""
    rows = [int(y) // 10 for y in batch["y"]]
    np.testing.assert_array_equal(batch["x"], x(rows), strict=True)
    assert batch["y"].dtype == np.float32
    return rows


def test_rows_in_order_over_all_files_and_around(source):
    made = source()
    assert made.shape == {"x": (4, 2, 3), "y": (4,)}
    assert made.records == 10
    assert [numbers(made.next_batch()) for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]


def test_a_batch_larger_than_all_files(source):
    assert numbers(source(batch=23).next_batch()) == [*range(10), *range(10), 0, 1, 2]


def test_shuffling_keeps_files_together(source):
    """hdf5_data_layer: each round takes the files in a new order, and of each its rows in a new order."""
    made = source("hdf5_data_param { shuffle: true }", batch=10)
    files, first_rows = Counter(), Counter()
    sizes = {"a": 3, "b": 2, "c": 5}
    for _ in range(600):
        rows = numbers(made.next_batch())
        assert sorted(rows) == list(range(10))
        order = ["a" if row < 3 else "b" if row < 5 else "c" for row in rows]
        found = list(dict.fromkeys(order))
        assert order == [name for name in found for _ in range(sizes[name])]
        files["".join(found)] += 1
        first_rows[next(row for row in rows if row > 4)] += 1
    # 100 each of six orders (standard deviation 9.1), 120 each of c's five rows (9.8).
    assert len(files) == 6 and all(abs(count - 100) < 45 for count in files.values())
    assert len(first_rows) == 5 and all(abs(count - 120) < 50 for count in first_rows.values())


def test_a_single_file_is_shuffled_anew_in_each_round(source, folder):
    (folder / "list.txt").write_text("c.h5")
    made = source("hdf5_data_param { shuffle: true }", batch=5)
    rounds = {tuple(numbers(made.next_batch())) for _ in range(30)}
    assert len(rounds) > 20 and all(sorted(one) == [5, 6, 7, 8, 9] for one in rounds)


@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_a_run_is_restored_and_shared(source, shuffle):
    text = f"hdf5_data_param {{ shuffle: {shuffle} }}"
    whole, ahead = source(text, batch=6), source(text, batch=6, prefetch=4, seed=5)
    whole.next_batch()
    ahead.restore(whole.state())
    shares = [source(text, batch=2, order=Order(rank=rank, ranks=3)) for rank in range(3)]
    for share in shares:
        share.next_batch()
    for _ in range(5):
        rows = numbers(whole.next_batch())
        assert numbers(ahead.next_batch()) == rows
        assert [numbers(share.next_batch()) for share in shares] == [rows[rank::3] for rank in range(3)]


HERE = r'^net.prototxt:7: layer "rows" \(HDF5Data\): '


@pytest.mark.parametrize(
    "text, message",
    [
        ('hdf5_data_param { source: "" }', "lacks source or batch_size"),
        ("hdf5_data_param { batch_size: 0 }", "lacks source or batch_size"),
        ('hdf5_data_param { source: "none.txt" }', "none.txt: there is no such file; expected a list of HDF5 files"),
        ('hdf5_data_param { source: "a.h5" }', "a.h5 is not UTF-8 text; expected a list.*not such a file itself"),
        ("transform_param { scale: 2 }", "has a transform_param, but HDF5Data does not transform\n  fix: remove it"),
        ('top: "z"', r'a.h5 \(.*list.txt:1\) has no dataset "z"; expected one for each top; it has unread, x, y'),
        ('top: "unread"', r'dataset "unread" of .*a.h5 \(.*\) is object of shape 1; expected rows of numbers'),
    ],
)
def test_mistakes_of_a_layer(source, text, message):
    with pytest.raises(UserError, match=f"(?s){HERE}.*{message}"):
        source(text)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x": np.zeros((4, 2, 3)), "y": np.zeros(3)}, r"new.h5 \(.*list.txt:2\) has unequal .*: 4 of x, 3 of y"),
        (
            {"x": np.zeros((4, 3, 2)), "y": np.zeros(4)},
            r'a row of dataset "x" of .*new.h5 .* is 3×2; expected 2×3, as in',
        ),
        ({"x": np.zeros((4, 2, 3)), "y": np.float32(3)}, r'dataset "y" of .*new.h5 .* is float32 of shape scalar'),
        ({"x": np.zeros((4, 2, 3)), "y": np.zeros(4, bool)}, r'dataset "y" of .* is bool of shape 4; expected rows'),
        ({}, r'new.h5 .* has no dataset "x"; expected one for each top; it has none'),
    ],
)
def test_mistakes_of_a_file(source, folder, arrays, message):
    with h5py.File(folder / "new.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    (folder / "list.txt").write_text("a.h5\nnew.h5\n")
    with pytest.raises(UserError, match=HERE + ".*" + message):
        source()


def test_files_that_are_none(source, folder):
    (folder / "list.txt").write_text("a.h5\n\nlist.txt\n")
    with pytest.raises(UserError, match=HERE + r".*list.txt \(.*list.txt:3\) cannot be read as HDF5"):
        source()
    (folder / "list.txt").write_text("a.h5 d.h5")
    with pytest.raises(UserError, match=HERE + r".*d.h5, which .*list.txt:1 names, is not there"):
        source()
    (folder / "list.txt").write_text(" \n")
    with pytest.raises(UserError, match=HERE + r".*list.txt is empty"):
        source()


def test_files_without_rows(source, folder):
    with h5py.File(folder / "new.h5", "w") as file:
        file["x"], file["y"] = np.zeros((0, 2, 3)), np.zeros(0)
    (folder / "list.txt").write_text("new.h5")
    with pytest.raises(UserError, match=HERE + "its files hold no rows"):
        source()
    (folder / "list.txt").write_text("new.h5 b.h5 new.h5")
    assert numbers(source(batch=3).next_batch()) == [3, 4, 3]
