"""AnnotatedDataSource: batches computed by hand, reproducibility, restarts, and each mistake of a layer or a record."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import islice
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from annoset.sources.annotated_data import AnnotatedDataSource
from annoset.sources.order import Order
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.schema import AnnotatedDatum, Datum, LayerParameter, NetParameter
from prototxt.text import parse

MEAN = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
RESIZE = "transform_param { mean_value: [104, 117, 123] resize_param { height: 30 width: 40 } }"
AUGMENT = """
  transform_param {
    mirror: true  mean_value: [104, 117, 123]
    resize_param { height: 30 width: 40 interp_mode: [LINEAR, NEAREST] }
    emit_constraint { emit_type: CENTER }
    distort_param { brightness_prob: 0.5 brightness_delta: 32 hue_prob: 0.5 hue_delta: 18 }
    expand_param { prob: 0.5 max_expand_ratio: 4 }
  }
  annotated_data_param {
    batch_sampler { max_sample: 1 max_trials: 1 }
    batch_sampler {
      sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }
      sample_constraint { min_jaccard_overlap: 0.3 } max_sample: 1 max_trials: 50
    }
  }
"""


def image(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def record(data: bytes, groups: dict[int, list[tuple]]) -> AnnotatedDatum:
    """An encoded image and, class by class, its boxes (xmin, ymin, xmax, ymax, difficult)."""
    result = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=Datum(encoded=True, data=data))
    for label, boxes in groups.items():
        group = result.annotation_group.add(group_label=label)
        for instance, (xmin, ymin, xmax, ymax, difficult) in enumerate(boxes):
            box = group.annotation.add(instance_id=instance).bbox
            box.xmin, box.ymin, box.xmax, box.ymax, box.difficult = xmin, ymin, xmax, ymax, difficult
    return result


def write(path: Path, *records: AnnotatedDatum | Datum | bytes) -> Path:
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for index, one in enumerate(records):
            value = one if isinstance(one, bytes) else one.SerializeToString()
            transaction.put(f"{index:08d}_image{index}".encode(), value)
    return path


BOXES = [
    {2: [(0.25, 0.125, 0.75, 0.5, False)], 1: [(0, 0, 0.5, 1, True), (0.5, 0.25, 1, 1, False)]},
    {},
    {3: [(0.125, 0.25, 0.375, 0.875, False)]},
]


@pytest.fixture
def database(tmp_path) -> Path:
    return write(tmp_path / "lmdb", *(record(png(image(index)), boxes) for index, boxes in enumerate(BOXES)))


def layer(
    source: Path | str, text: str = RESIZE, batch_size: int = 2, rand_skip: int = 0, phase: str = "TRAIN"
) -> Layer:
    text = layer_text(source, text, batch_size, rand_skip)
    return Layer(parse(text, LayerParameter()).message, "net.prototxt:7", phase)


def layer_text(source: Path | str, text: str, batch_size: int = 2, rand_skip: int = 0) -> str:
    return f"""name: "data" type: "AnnotatedData" top: "data" top: "label"
        data_param {{ source: "{source}" batch_size: {batch_size} backend: LMDB rand_skip: {rand_skip} }} {text}"""


def source_of(path: Path | str, text: str = RESIZE, **options) -> AnnotatedDataSource:
    fields = {name: options.pop(name) for name in ("batch_size", "rand_skip", "phase") if name in options}
    return AnnotatedDataSource(layer(path, text, **fields), **{"seed": 1} | options)


def same(one: list[dict], other: list[dict]) -> bool:
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[top], b[top]) for top in a)
        for a, b in zip(one, other, strict=True)
    )


def test_a_batch_by_hand(database):
    source = source_of(database, phase="TEST")
    assert source.shape == {"data": (2, 3, 30, 40), "label": (1, 1, 1, 8)}
    batch = source.next_batch()
    assert list(batch) == ["data", "label"]
    assert batch["data"].dtype == batch["label"].dtype == np.float32
    expected = [cv2.resize(image(index), (40, 30)).transpose(2, 0, 1) - MEAN for index in (0, 1)]
    np.testing.assert_array_equal(batch["data"], expected)
    np.testing.assert_array_equal(
        batch["label"],
        [[[[0, 2, 0, 0.25, 0.125, 0.75, 0.5, 0], [0, 1, 0, 0, 0, 0.5, 1, 1], [0, 1, 1, 0.5, 0.25, 1, 1, 0]]]],
    )


def test_the_cursor_goes_round_in_key_order(database):
    source = source_of(database, phase="TEST")
    batches = list(islice(source, 3))
    order = [cv2.resize(image(index), (40, 30)).transpose(2, 0, 1) - MEAN for index in (0, 1, 2, 0, 1, 2)]
    np.testing.assert_array_equal(np.concatenate([batch["data"] for batch in batches]), order)
    np.testing.assert_array_equal(batches[1]["label"][0, 0, :, :2], [[0, 3], [1, 2], [1, 1], [1, 1]])
    np.testing.assert_array_equal(batches[2]["label"], [[[[1, 3, 0, 0.125, 0.25, 0.375, 0.875, 0]]]])


def test_a_batch_without_boxes_has_one_row_of_minus_one(tmp_path):
    source = source_of(write(tmp_path / "lmdb", record(png(image(0)), {})))
    for _ in range(2):
        batch = source.next_batch()
        np.testing.assert_array_equal(batch["label"], np.full((1, 1, 1, 8), -1))
        batch["label"][...] = 7  # the caller's own array


def test_one_top_carries_the_images_alone(database):
    one_top = layer(database, phase="TEST")
    del one_top.proto.top[1]
    source = AnnotatedDataSource(one_top, 1)
    assert list(source.shape) == list(source.next_batch()) == ["data"]


def test_relative_paths_start_from_the_root(database):
    label_map = 'annotated_data_param { label_map_file: "map.prototxt" }'
    (database.parent / "map.prototxt").write_text(
        "".join(f'item {{ name: "{label}" label: {label} }}' for label in range(4))
    )
    source = source_of("lmdb", RESIZE + label_map, root=database.parent)
    assert source.next_batch()["label"].shape == (1, 1, 3, 8)


def test_a_seed_gives_the_same_batches_whatever_the_threads(database):
    runs = [list(islice(source_of(database, AUGMENT, prefetch=prefetch), 12)) for prefetch in (0, 0, 1, 3)]
    assert same(runs[0], runs[1]) and same(runs[0], runs[2]) and same(runs[0], runs[3])
    other = list(islice(source_of(database, AUGMENT, seed=2), 12))
    assert not any(same([a], [b]) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_any_number_of_threads_gives_bit_for_bit_what_none_gives(database, prefetch):
    options = {"batch_size": 5, "rand_skip": 9, "order": Order(shuffle=True)}
    alone = list(islice(source_of(database, AUGMENT, **options), 9))
    with source_of(database, AUGMENT, prefetch=prefetch, **options) as source:
        list(islice(source, 7))
        source.restore({"seed": 1, "position": 0})
        assert same(list(islice(source, 9)), alone)


def test_several_processes_see_together_what_one_would(database):
    order = {"shuffle": True}
    alone = source_of(database, AUGMENT, batch_size=6, order=Order(**order)).next_batch()
    shares = [source_of(database, AUGMENT, order=Order(**order, rank=rank, ranks=3)).next_batch() for rank in range(3)]
    for item in range(6):
        share, place = shares[item % 3], item // 3
        np.testing.assert_array_equal(share["data"][place], alone["data"][item])
        ours, whole = (
            batch["label"][0, 0][batch["label"][0, 0, :, 0] == number][:, 1:]
            for batch, number in ((share, place), (alone, item))
        )
        np.testing.assert_array_equal(ours, whole)


def test_rand_skip_leaves_out_records_at_the_start(database):
    options = {"phase": "TEST", "batch_size": 3}
    firsts = [source_of(database, seed=seed, rand_skip=3, **options).next_batch()["data"] for seed in range(9)]
    plain = source_of(database, **options).next_batch()["data"]
    starts = [next(start for start in range(3) if (plain[start] == first[0]).all()) for first in firsts]
    assert set(starts) == {0, 1, 2}
    for start, first in zip(starts, firsts, strict=True):
        np.testing.assert_array_equal(first, np.roll(plain, -start, axis=0))


def test_a_sample_tells_what_was_drawn(database):
    source = source_of(database, AUGMENT)
    batch = source.next_batch()
    for item in range(2):
        sample = source.sample(item)
        assert sample.key == f"0000000{item}_image{item}" and sample.plan.sampler in (None, 0, 1)
        np.testing.assert_array_equal(batch["data"][item], sample.image.transpose(2, 0, 1) - MEAN)


def class_record(index: int, label: int) -> AnnotatedDatum:
    return AnnotatedDatum(datum=Datum(encoded=True, data=png(image(index)), label=label))


def test_classes_of_whole_images(tmp_path):
    """What convert_annoset --anno_type=classification writes, and the batch sampler's crops of it."""
    path = write(tmp_path / "lmdb", *(class_record(index, 5 + index) for index in range(3)))
    source = source_of(path, AUGMENT)
    assert source.shape["label"] == (2, 1, 1, 1)
    batches = list(islice(source, 2))
    assert batches[0]["label"].dtype == np.float32
    assert [batch["label"].ravel().tolist() for batch in batches] == [[5, 6], [7, 5]]
    assert batches[0]["label"].shape == (2, 1, 1, 1)


@pytest.mark.parametrize("classes_first", [False, True])
def test_boxes_and_classes_do_not_mix(tmp_path, classes_first):
    records = [GOOD, class_record(1, 3)]
    path = write(tmp_path / "lmdb", *records[:: -1 if classes_first else 1])
    with pytest.raises(UserError) as error:
        source_of(path).next_batch()
    kinds = ["boxes", "a class of the image"]
    other, first = kinds if classes_first else kinds[::-1]
    assert (
        str(error.value)
        == f"{path}, record 00000001_image1: the label is {other}; expected {first}, as in the first record"
    )


def test_memory_does_not_grow(database):
    """Python's own; benchmarks/augmentation.py watches the process."""
    source = source_of(database, AUGMENT)
    list(islice(source, 20))
    tracemalloc.start()
    try:
        used = []
        for _ in range(2):
            list(islice(source, 40))
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
        assert used[1] - used[0] < 5_000
    finally:
        tracemalloc.stop()


def test_each_round_augments_anew(database):
    first, second = islice(source_of(database, AUGMENT, batch_size=3), 2)
    assert all((a != b).any() for a, b in zip(first["data"], second["data"], strict=True))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_restored_run_goes_on_as_the_uninterrupted_one(database, prefetch):
    source = source_of(database, AUGMENT, prefetch=prefetch)
    list(islice(source, 5))
    state = source.state()
    assert state == {"seed": 1, "position": 10}
    expected = list(islice(source, 4))
    with source_of(database, AUGMENT, seed=99, prefetch=prefetch) as resumed:
        resumed.next_batch()
        resumed.restore(state)
        assert same(list(islice(resumed, 4)), expected)


def test_negative_seeds(database):
    source = source_of(database, AUGMENT, seed=-1)
    assert source.next_batch()["data"].shape == (2, 3, 30, 40)


def test_fit_small_size_gives_each_image_its_own_shape(tmp_path):
    path = write(tmp_path / "lmdb", record(png(image(0, 48, 64)), {}), record(png(image(1, 64, 48)), {}))
    text = "transform_param { resize_param { resize_mode: FIT_SMALL_SIZE height: 24 width: 24 } }"
    source = source_of(path, text, batch_size=1)
    assert source.shape["data"] == (1, 3, 24, 32)
    assert [batch["data"].shape for batch in islice(source, 2)] == [(1, 3, 24, 32), (1, 3, 32, 24)]


def test_channels_can_be_forced(tmp_path):
    grey = image(0)[:, :, 0]
    path = write(tmp_path / "lmdb", record(png(grey), {}), record(png(image(1)), {}))
    colour = source_of(path, "transform_param { force_color: true }").next_batch()["data"]
    np.testing.assert_array_equal(colour, [np.stack((grey,) * 3), image(1).transpose(2, 0, 1)])
    forced = source_of(path, "transform_param { force_gray: true }").next_batch()["data"]
    assert forced.shape == (2, 1, 48, 64)
    np.testing.assert_array_equal(forced[0, 0], grey)
    np.testing.assert_allclose(forced[1, 0], cv2.cvtColor(image(1), cv2.COLOR_BGR2GRAY), atol=1)


def test_raw_pixels(tmp_path):
    planes = np.ascontiguousarray(image(0).transpose(2, 0, 1))
    raw = record(b"", BOXES[2])
    raw.datum.CopyFrom(Datum(channels=3, height=48, width=64, data=planes.tobytes()))
    batch = source_of(write(tmp_path / "lmdb", raw), batch_size=1).next_batch()
    np.testing.assert_array_equal(batch["data"][0], cv2.resize(image(0), (40, 30)).transpose(2, 0, 1) - MEAN)


def test_scratchdets_own_layer_on_real_images(shared, tmp_path):
    """The layer that ScratchDet's release trains with, over microscope images: what a net may rely on."""
    folder = shared / "data/bccd/JPEGImages"
    images = [path.read_bytes() for path in sorted(folder.iterdir())[:6]]
    boxes = {1: [(0.1, 0.1, 0.4, 0.5, False), (0.6, 0.6, 0.9, 0.95, True)], 2: [(0.3, 0.4, 0.7, 0.8, False)]}
    net = shared / "reference/prototxt/scratchdet300_root34_voc/train.prototxt"
    message = parse(net.read_text(), NetParameter(), str(net)).message.layer[0]
    message.data_param.source = str(write(tmp_path / "lmdb", *(record(data, boxes) for data in images)))
    message.annotated_data_param.ClearField("label_map_file")
    source = AnnotatedDataSource(Layer(message, f"{net}:1", "TRAIN"), 3)
    assert source.shape["data"] == (32, 3, 300, 300)
    for batch in islice(source, 3):
        data, rows = batch["data"], batch["label"][0, 0]
        assert data.shape == (32, 3, 300, 300) and np.isfinite(data).all()
        assert data.min() >= -123 and data.max() <= 255 - 104
        assert 32 < len(rows) <= 96
        assert (np.diff(rows[:, 0]) >= 0).all() and set(rows[:, 0]) <= set(range(32))
        assert set(map(tuple, rows[:, [1, 2, 7]])) <= {(1, 0, 0), (1, 1, 1), (2, 0, 0)}
        assert (rows[:, 3:7] >= 0).all() and (rows[:, 3:7] <= 1).all()
        assert (rows[:, 5:7] > rows[:, 3:5]).all()


# Mistakes of the layer ------------------------------------------------------------------------------------

IDLE = "is of no effect in Caffe\n  fix: write"
REFUSED = [
    ("transform_param { resize_param { prob: 0.5 } }", "transform_param.resize_param.prob is 0.5\n  fix: remove it"),
    ("data_param { scale: 0.5 }", f"data_param.scale {IDLE} scale in transform_param"),
    ('data_param { mean_file: "m" }', f"data_param.mean_file {IDLE} mean_file in transform_param"),
    ("data_param { crop_size: 3 }", f"data_param.crop_size {IDLE} crop_size in transform_param"),
    ("data_param { mirror: true }", f"data_param.mirror {IDLE} mirror in transform_param"),
    ("data_param { force_encoded_color: true }", f"data_param.force_encoded_color {IDLE} force_color in transform_p"),
    ("transform_param { mean_value: [1, nan, 3] }", "transform_param.mean_value is nan; expected a number"),
    (
        "transform_param { distort_param { hue_delta: inf } }",
        "transform_param.distort_param.hue_delta is inf; exp",
    ),
    (
        "annotated_data_param { batch_sampler {} batch_sampler { sampler { min_scale: -inf } } }",
        "annotated_data_param.batch_sampler.sampler.min_scale is -inf; expected a number",
    ),
    (
        "transform_param { resize_param { height: 20000 width: 9 } }",
        "transform_param.resize_param has height 20000 a",
    ),
    ("transform_param { crop_h: 3 }", "transform_param has crop_h 3 and crop_w 0; expected both"),
    (
        "transform_param { force_color: true force_gray: true }",
        "transform_param has both force_color and force_gray; expected one of them",
    ),
    (
        'transform_param { mean_file: "m" mean_value: 1 }',
        "transform_param has both mean_file and mean_value; expected one of them",
    ),
    (
        "data_param { batch_size: 2 } transform_param { resize_param { resize_mode: FIT_SMALL_SIZE } }",
        "resize_mode FIT_SMALL_SIZE gives images of different sizes, batch_size is 2; expected data_param.batch_size 1",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused_parameters(database, layer_of, text, message):
    with pytest.raises(UserError) as error:
        AnnotatedDataSource(layer_of(layer_text(database, ""), text), 1)
    assert str(error.value).startswith(f'net.prototxt:7: layer "data" (AnnotatedData): {message}')


def test_fields_set_to_what_caffe_does_anyway_are_accepted(database, layer_of):
    text = "transform_param { resize_param { prob: 1 } } data_param { rand_skip: 0 scale: 1 mirror: false }"
    AnnotatedDataSource(layer_of(layer_text(database, RESIZE), text), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backend": 0},
            "data_param.backend is LEVELDB, which is Caffe's default; expected backend: LMDB\n  fix: make",
        ),
        ({"batch_size": 0}, "data_param lacks source or batch_size; expected both"),
        ({"source": ""}, "data_param lacks source or batch_size; expected both"),
    ],
)
def test_mistakes_in_data_param(database, change, message):
    wrong = layer(database)
    for field, value in change.items():
        setattr(wrong.proto.data_param, field, value)
    with pytest.raises(UserError) as error:
        AnnotatedDataSource(wrong, 1)
    assert str(error.value).startswith(f'net.prototxt:7: layer "data" (AnnotatedData): {message}')


def test_a_third_top_is_refused(database):
    wrong = layer(database)
    wrong.proto.top.append("more")
    with pytest.raises(UserError, match=r"it has 3 tops; expected 1 or 2"):
        AnnotatedDataSource(wrong, 1)


def test_a_missing_labelmap(database, tmp_path):
    with pytest.raises(UserError) as error:
        source_of(database, RESIZE + 'annotated_data_param { label_map_file: "map.prototxt" }', root=tmp_path)
    assert f"label_map_file is {tmp_path / 'map.prototxt'}, which is not there" in str(error.value)
    assert "fix: correct the path, or remove the field" in str(error.value)


def test_a_missing_lmdb(tmp_path):
    with pytest.raises(UserError) as error:
        source_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value) and "netgen lmdb" in str(error.value)


def test_a_folder_that_is_no_lmdb(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"<!DOCTYPE html>" * 1000)
    with pytest.raises(UserError) as error:
        source_of(tmp_path)
    assert str(tmp_path) in str(error.value)


# Mistakes of a record -------------------------------------------------------------------------------------

GOOD = record(png(image(0)), BOXES[0])


def without_type() -> AnnotatedDatum:
    result = AnnotatedDatum()
    result.CopyFrom(GOOD)
    result.ClearField("type")
    return result


def with_floats() -> AnnotatedDatum:
    result = record(b"", {})
    result.datum.CopyFrom(Datum(channels=1, height=2, width=2, float_data=[1, 2, 3, 4]))
    return result


RECORDS = [
    (b"<html></html>", 'the 13 bytes of record "00000003_image3" are no AnnotatedDatum'),
    (record(b"not an image", {}), "the image cannot be decoded (12 bytes); expected a whole JPEG, PNG"),
    (record(b"", {}), "the image cannot be decoded (0 bytes)"),
    (record(png(image(0))[:50], {}), "the image cannot be decoded (50 bytes)"),
    (
        record(png(np.zeros((4, 4), np.uint16)), {}),
        "the image is 4 x 4 pixels and 1 channel(s) of uint16; expected 1 or 3 channels of uint8\n  fix: set transform",
    ),
    (record(png(np.zeros((4, 4, 4), np.uint8)), {}), "the image is 4 x 4 pixels and 4 channel(s) of uint8"),
    (
        with_floats(),
        "the record holds 0 bytes and 4 floats for an image of 1 x 2 x 2 (channels, height, width); expected an enc",
    ),
    (
        without_type(),
        "the record does not say what its annotations are; expected an AnnotatedDatum of type BBOX\n  fix:",
    ),
    (
        record(png(image(0)[:, :, 0]), {}),
        "the image has 1 channel(s); expected 3, as the first image of the LMDB\n  fix: set transform_param.force_",
    ),
    (
        record(png(image(0)), {4: [(0, 0, 1, 1, False)]}),
        "a box has the class 4, which {map} does not list; expected one of [0, 1, 2, 3]\n  fix: make the LMDB with",
    ),
]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(("bad", "message"), RECORDS, ids=[message[:40] for _, message in RECORDS])
def test_a_bad_record_is_named_when_its_batch_comes(tmp_path, bad, message, prefetch):
    path, label_map = write(tmp_path / "lmdb", GOOD, GOOD, GOOD, bad), tmp_path / "map.prototxt"
    label_map.write_text("".join(f'item {{ name: "{label}" label: {label} }}' for label in range(4)))
    text = RESIZE + f'annotated_data_param {{ label_map_file: "{label_map}" }}'
    with source_of(path, text, prefetch=prefetch) as source:
        source.next_batch()
        with pytest.raises(UserError) as error:
            source.next_batch()
        assert source.next_batch()["data"].shape == (2, 3, 30, 40)
    expected = f"{path}, record 00000003_image3: {message.format(map=label_map) if '{map}' in message else message}"
    assert str(error.value).startswith(expected)


def test_a_bad_first_record_is_named_too(tmp_path):
    path = write(tmp_path / "lmdb", record(b"not an image", {}))
    with pytest.raises(UserError) as error:
        source_of(path)
    assert str(error.value).startswith(f"{path}, record 00000000_image0: the image cannot be decoded")


def test_records_of_classification(tmp_path):
    path = write(tmp_path / "lmdb", Datum(encoded=True, data=png(image(0)), label=1, channels=3, height=48, width=64))
    with pytest.raises(UserError) as error:
        source_of(path)
    assert str(path) in str(error.value) and "00000000_image0" in str(error.value)
    assert "AnnotatedDatum" in str(error.value) and "fix: " in str(error.value)


def test_anno_type_stands_in_for_the_records_own(tmp_path):
    path = write(tmp_path / "lmdb", without_type())
    source = source_of(path, RESIZE + "annotated_data_param { anno_type: BBOX }")
    assert source.next_batch()["label"].shape == (1, 1, 6, 8)


def test_a_canvas_too_large_for_any_memory(tmp_path):
    path = write(tmp_path / "lmdb", GOOD)
    with pytest.raises(UserError) as error:
        source_of(path, "transform_param { expand_param { prob: 1 max_expand_ratio: 1e20 } }").next_batch()
    assert f"{path}, record 00000000_image0: the image would be shown on " in str(error.value)
    assert "fix: lower transform_param.expand_param.max_expand_ratio" in str(error.value)


def test_images_of_two_sizes_without_a_resize(tmp_path):
    path = write(tmp_path / "lmdb", record(png(image(0)), {}), record(png(image(1, 20, 30)), {}))
    with pytest.raises(UserError) as error:
        source_of(path, "").next_batch()
    assert str(error.value) == (
        f"{path}, record 00000001_image1: the image is 20 x 30 pixels and 3 channel(s), the first of its batch"
        " 48 x 64; expected images of one size in a batch\n"
        "  fix: give the layer's transform_param a resize_param"
    )
