"""DataFeed: every data layer of a net, alone and together, down to whole trainings."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest
import torch

from converters.caffemodel import read_weights
from converters.pytorch.net import CaffeNet
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import read_net
from prototxt.phase import NetState
from prototxt.schema import Datum
from solver.config import read_config
from solver.feed import DataFeed, fed_graph
from solver.job import one_pass, test, train
from solver.log import read_log
from solver.train import Trainer

test.__test__ = False  # it is a function of the package

# ---------- Real SSD-Caffe's runs, fed in other ways ----------

INPUT_LABEL = "shape {\n      dim: 1\n      dim: 1\n      dim: 4\n      dim: 8\n    }"


@pytest.fixture
def oracle(shared, tmp_path):
    """A copy of one of SSD-Caffe's runs, its batches and its numbers."""
    folder = shared / "oracle/solver"
    for name in ("sgd_multistep_itersize2.solver.prototxt", "sgd_multistep_itersize2.net.prototxt"):
        (tmp_path / name).write_text((folder / name).read_text())
    inputs = np.load(folder / "inputs.npz")
    arrays = {top: np.concatenate([inputs[f"{top}/{batch}"] for batch in range(24)]) for top in ("data", "label")}
    return tmp_path, arrays, np.load(folder / "sgd_multistep_itersize2.npz")


def losses(folder: Path, data, arrays=None) -> list[float]:
    """Of all iterations, with SSD-Caffe's weights at the start."""
    config = read_config(folder / "sgd_multistep_itersize2.solver.prototxt")
    graph = config.train.graph()
    weights: dict[str, list[np.ndarray]] = {}
    for key in data:
        if key.startswith("param_init/"):
            weights.setdefault(key.split("/")[1], []).append(data[key])
    with DataFeed(graph, 1, config.root, arrays) as feed:
        trainer = Trainer(config, CaffeNet(graph, weights), feed)
        return [trainer.step() for _ in range(12)]


def test_arrays_for_input_layers_give_caffes_losses(oracle):
    folder, arrays, data = oracle
    np.testing.assert_allclose(losses(folder, data, arrays), data["loss"], rtol=1e-5)


def test_hdf5_data_gives_caffes_losses(oracle):
    folder, arrays, data = oracle
    net = folder / "sgd_multistep_itersize2.net.prototxt"
    text = net.read_text().split('layer {\n  name: "conv1"', 1)[1]
    feeds = ""
    for top, batch in (("data", 2), ("label", 1)):
        half = len(arrays[top]) // 2 + 1  # in the middle of a batch
        for name, part in (("first", arrays[top][:half]), ("rest", arrays[top][half:])):
            with h5py.File(folder / f"{top}_{name}.h5", "w") as file:
                file[top] = part
        (folder / f"{top}.txt").write_text(f"{top}_first.h5\n{top}_rest.h5\n")
        feeds += (
            f'layer {{ name: "{top}" type: "HDF5Data" top: "{top}" '
            f'hdf5_data_param {{ source: "{top}.txt" batch_size: {batch} }} }}\n'
        )
    net.write_text(feeds + 'layer {\n  name: "conv1"' + text)
    np.testing.assert_allclose(losses(folder, data), data["loss"], rtol=1e-5)


# ---------- A net of digits ----------

HEAD = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "pool1" top: "pool1" }
layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1" dropout_param { dropout_ratio: 0.1 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip1" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss" }
"""
TRANSFORM = "transform_param { scale: 0.00390625 mean_value: 128 crop_size: 18 }"
FEEDS = {
    "Data": 'layer {{ name: "digits" type: "Data" top: "data" top: "label" include {{ phase: {phase} }} {transform} '
    'data_param {{ source: "{phase}_lmdb" batch_size: {batch} backend: LMDB }} }}',
    "ImageData": 'layer {{ name: "digits" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }} '
    '{transform} image_data_param {{ source: "{phase}.txt" root_folder: "{phase}/" is_color: false shuffle: true '
    "batch_size: {batch} }} }}",
    "HDF5Data": 'layer {{ name: "digits" type: "HDF5Data" top: "data" top: "label" include {{ phase: {phase} }} '
    'hdf5_data_param {{ source: "{phase}_h5.txt" shuffle: true batch_size: {batch} }} }}',
}
SOLVER = """
net: "net.prototxt"
test_iter: 4 test_interval: 60 test_initialization: false
base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
max_iter: 60 display: 20 average_loss: 10 snapshot: 30 snapshot_prefix: "out/lenet" solver_mode: CPU random_seed: 7
"""


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of digits, uint8 [count, 20, 22], and what they show."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 20, 22), np.uint8)
    for image, label in zip(images, labels):
        corner = tuple(int(v) for v in rng.integers((3, 15), (7, 18)))
        cv2.putText(image, str(label), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.55, int(rng.integers(180, 256)), 2)
    return images, labels


def write_digits(folder: Path, phase: str, images: np.ndarray, labels: np.ndarray) -> None:
    """As an LMDB of raw and of encoded Datum by turns, as files with a list, and as two HDF5 files."""
    (folder / phase).mkdir()
    with lmdb.open(str(folder / f"{phase}_lmdb"), map_size=1 << 24) as database, database.begin(write=True) as write:
        for number, (image, label) in enumerate(zip(images, labels)):
            png = cv2.imencode(".png", image)[1].tobytes()
            raw = Datum(channels=1, height=20, width=22, data=image.tobytes())
            datum = Datum(data=png, encoded=True) if number % 2 else raw
            datum.label = label
            write.put(f"{number:08d}".encode(), datum.SerializeToString())
            (folder / phase / f"{number}.png").write_bytes(png)
    (folder / f"{phase}.txt").write_text("".join(f"{number}.png {label}\n" for number, label in enumerate(labels)))
    halves = np.array_split(np.arange(len(images)), 2)
    for name, rows in zip("ab", halves):
        with h5py.File(folder / f"{phase}_{name}.h5", "w") as file:
            file["data"] = (images[rows, None, 1:19, 2:20].astype(np.float32) - 128) / 256
            file["label"] = labels[rows]
    (folder / f"{phase}_h5.txt").write_text(f"{phase}_a.h5\n{phase}_b.h5\n")


@pytest.fixture(scope="module")
def drawn():
    return {"TRAIN": digits(300, 1), "TEST": digits(80, 2)}


@pytest.fixture
def lenet(tmp_path, drawn, monkeypatch):
    """A folder with solver.prototxt and, for the type of data layer that is asked for, net.prototxt."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    for phase, (images, labels) in drawn.items():
        write_digits(tmp_path, phase, images, labels)
    (tmp_path / "solver.prototxt").write_text(SOLVER)

    def make(kind: str) -> Path:
        batches = {"TRAIN": 16, "TEST": 20}
        text = "".join(
            FEEDS[kind].format(phase=phase, batch=batch, transform=TRANSFORM) for phase, batch in batches.items()
        )
        (tmp_path / "net.prototxt").write_text(text + HEAD)
        return tmp_path

    return make


def logged(folder: Path, name: str) -> list[float]:
    return [value for _, quantity, value in read_log(folder / "out/lenet.log.csv") if quantity == name]


@pytest.mark.parametrize("kind", sorted(FEEDS))
def test_digits_are_learned_and_a_resumed_run_is_the_same(lenet, kind):
    folder = lenet(kind)
    assert train("solver.prototxt")
    loss, accuracy = logged(folder, "loss"), logged(folder, "test/accuracy")
    assert loss[0] > 2 and loss[-1] < 0.5 * loss[0]
    assert accuracy[-1] > 0.75
    whole = read_weights("out/lenet_iter_60.caffemodel")
    train("solver.prototxt", resume="out/lenet_iter_30.solverstate")
    for layer, blobs in read_weights("out/lenet_iter_60.caffemodel").items():
        for ours, theirs in zip(blobs, whole[layer], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    ((graph, _, result),) = test(["out/lenet_iter_60.caffemodel"], "solver.prototxt")
    assert dict(result.outputs)["accuracy"] == pytest.approx(accuracy[-1])
    assert one_pass(graph, folder) == 4


def test_netgen_trains_and_tests_a_net_of_digits(lenet, capsys):
    from netgen.commands.main import app

    lenet("Data")
    app(["train", "--solver", "solver.prototxt"], standalone_mode=False)
    assert "Optimization done." in capsys.readouterr().out
    accuracy = app(
        ["test", "--weights", "out/lenet_iter_60.caffemodel", "--net", "net.prototxt"], standalone_mode=False
    )
    assert accuracy == pytest.approx(logged(Path(), "test/accuracy")[-1]) and accuracy > 0.75
    assert "Test net output #0: accuracy = " in capsys.readouterr().out


def test_netgen_trains_on_shuffled_records(lenet):
    from netgen.commands.main import app

    folder = lenet("Data")
    losses = {}
    for name, words in {"in order": [], "shuffled": ["--shuffle"]}.items():
        app(["train", "--solver", "solver.prototxt", *words], standalone_mode=False)
        losses[name] = logged(folder, "loss")
    assert losses["in order"] != losses["shuffled"]
    resume = ["--snapshot", "out/lenet_iter_30.solverstate"]
    app(["train", "--solver", "solver.prototxt", "--shuffle", *resume], standalone_mode=False)
    assert logged(folder, "loss") == losses["shuffled"]


# ---------- Several layers, shapes, arrays ----------

LAYERS = """
layer { name: "a" type: "ImageData" top: "a" top: "a_label" image_data_param { source: "TRAIN.txt" root_folder: "TRAIN/"
  shuffle: true batch_size: 3 } transform_param { mirror: true } }
layer { name: "b" type: "ImageData" top: "b" top: "b_label" image_data_param { source: "TRAIN.txt" root_folder: "TRAIN/"
  shuffle: true batch_size: 5 is_color: false } transform_param { mirror: true } }
layer { name: "noise" type: "DummyData" top: "noise" dummy_data_param { shape { dim: 2 dim: 3 }
  data_filler { type: "gaussian" std: 1 } } }
layer { name: "given" type: "MemoryData" top: "x" top: "y"
  memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }
"""
ARRAYS = {"x": np.arange(12).reshape(4, 1, 1, 3), "y": np.arange(4)}


def graph_of(text: str, phase: str = "TRAIN") -> Graph:
    Path("some.prototxt").write_text(text)
    return fed_graph(read_net("some.prototxt"), NetState(phase), Path())


def test_several_data_layers_of_one_net(lenet):
    lenet("Data")
    graph = graph_of(LAYERS)
    with DataFeed(graph, 3, Path(), ARRAYS) as feed, DataFeed(graph, 3, Path(), ARRAYS) as other:
        batches = [feed(number) for number in range(5)]
        assert {top: array.shape for top, array in batches[0].items()} == graph.inputs
        assert graph.inputs["a"] == (3, 3, 20, 22) and graph.inputs["b"] == (5, 1, 20, 22)
        assert [batch["y"].tolist() for batch in batches] == [[0, 1], [2, 3]] * 2 + [[0, 1]]
        for number in (4, 2, 3, 0):  # a feed gives any batch at any time
            for top, array in other(number).items():
                np.testing.assert_array_equal(array, batches[number][top])
        firsts = [np.concatenate([batch[f"{name}_label"] for batch in batches])[:15] for name in "ab"]
        assert not np.array_equal(*firsts)  # layers are shuffled each in its own way


def test_the_first_layers_seed_is_the_runs_own(lenet):
    from annoset.sources.image_data import ImageDataSource

    lenet("Data")
    graph = graph_of(LAYERS)
    with DataFeed(graph, 3, Path(), ARRAYS) as feed, ImageDataSource(graph.layers[0], 3) as source:
        np.testing.assert_array_equal(feed(0)["a"], source.next_batch()["a"])


@pytest.mark.parametrize(
    "text, shapes",
    [
        (FEEDS["Data"].format(phase="TRAIN", batch=4, transform=""), {"data": (4, 1, 20, 22), "label": (4,)}),
        (
            FEEDS["ImageData"].format(phase="TRAIN", batch=4, transform=TRANSFORM),
            {"data": (4, 1, 18, 18), "label": (4,)},
        ),
        (FEEDS["HDF5Data"].format(phase="TRAIN", batch=4), {"data": (4, 1, 18, 18), "label": (4,)}),
    ],
)
def test_the_data_tell_the_shapes(lenet, text, shapes):
    lenet("Data")
    assert graph_of(text).inputs == shapes


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, r'some.prototxt:8: layer "given" \(MemoryData\): nothing feeds it in phase TRAIN'),
        (
            {**ARRAYS, "z": 0},
            r'some.prototxt: an array is given for "z", which no Input or MemoryData layer.*one of x, y',
        ),
        ({**ARRAYS, "noise": 0}, r'an array is given for "noise", which'),
    ],
)
def test_arrays_that_do_not_fit(lenet, arrays, message):
    lenet("Data")
    graph = graph_of(LAYERS)
    with pytest.raises(UserError, match=message):
        DataFeed(graph, 1, Path(), arrays)


def test_a_net_that_nothing_feeds(lenet):
    lenet("Data")
    with pytest.raises(
        UserError, match=r"some.prototxt: the TRAIN net reads no data; expected a layer that reads data"
    ):
        DataFeed(graph_of(""), 1, Path())


def test_arrays_train_a_net_from_python(lenet, drawn):
    """MemoryData in a program: 40 iterations over arrays."""
    folder = lenet("Data")
    memory = 'layer { name: "digits" type: "MemoryData" top: "data" top: "label" memory_data_param { %s } }'
    (folder / "net.prototxt").write_text(memory % "batch_size: 20 channels: 1 height: 20 width: 22" + HEAD)
    config = read_config("solver.prototxt")
    graph = config.train.graph()
    images, labels = drawn["TRAIN"]
    arrays = {"data": (images[:, None] - 128.0) / 256, "label": labels}
    with DataFeed(graph, config.seed, config.root, arrays) as feed:
        trainer = Trainer(config, CaffeNet(graph, seed=1), feed)
        losses = [trainer.step() for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.6 * losses[0]
    with pytest.raises(
        UserError, match=r'layer "digits" \(MemoryData\): nothing feeds it in phase TRAIN.*\n.*HDF5Data'
    ):
        train("solver.prototxt")
