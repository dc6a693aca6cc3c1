"""Data layers: batches computed by hand from the LMDB, the law of what is random, restarts, each mistake."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from annoset.sources.data import DataSource
from annoset.sources.order import Order
from prototxt.errors import UserError
from prototxt.io import write_binary
from prototxt.schema import BlobProto, Datum

DATA = (
    'name: "data" type: "Data" top: "data" top: "label" data_param {{ source: "db" batch_size: {batch} backend: LMDB }}'
)


def values(index: int, channels: int = 1, height: int = 4, width: int = 5) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (channels, height, width), dtype=np.uint8)


def raw(pixels: np.ndarray, label: int = 0) -> Datum:
    shape = dict(zip(("channels", "height", "width"), pixels.shape))
    if pixels.dtype == np.uint8:
        return Datum(data=pixels.tobytes(), label=label, **shape)
    return Datum(float_data=pixels.ravel().tolist(), label=label, **shape)


def encoded(pixels: np.ndarray, label: int = 0) -> Datum:
    """A PNG of an image [H, W, 3] or [H, W]."""
    return Datum(data=cv2.imencode(".png", pixels)[1].tobytes(), encoded=True, label=label)


def image(index: int, height: int = 6, width: int = 8) -> np.ndarray:
    return values(index, 3, height, width).transpose(1, 2, 0).copy()


def mean_file(path, mean: np.ndarray) -> None:
    channels, height, width = mean.shape
    write_binary(BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel().tolist()), path)


@pytest.fixture
def source(tmp_path, lmdb_of, layer_of):
    """A DataSource of some records; `text` is added to the layer."""
    opened = []

    def make(records, text: str = "", batch: int = 2, phase: str = "TRAIN", seed: int = 1, **options) -> DataSource:
        if not (tmp_path / "db").exists():
            lmdb_of({f"{number:08d}": record for number, record in enumerate(records)}, "db")
        layer = layer_of(DATA.format(batch=batch), text, phase=phase)
        opened.append(DataSource(layer, seed, tmp_path, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_raw_images_in_the_order_of_their_keys(source):
    records = [raw(values(index), label=index + 3) for index in range(3)]
    made = source(records, "transform_param { mean_value: 100 scale: 0.5 }")
    assert made.shape == {"data": (2, 1, 4, 5), "label": (2,)}
    assert made.records == 3
    for wanted in ([0, 1], [2, 0], [1, 2]):
        batch = made.next_batch()
        expected = np.stack([(values(index) - np.float32(100)) * np.float32(0.5) for index in wanted])
        np.testing.assert_array_equal(batch["data"], expected, strict=True)
        np.testing.assert_array_equal(batch["label"], np.float32([index + 3 for index in wanted]), strict=True)


def test_floats_of_any_number_of_channels(source):
    pixels = np.float32([[[0.5, -3, 1e6]], [[7, 8, 9]]])  # 2 x 1 x 3
    batch = source([raw(pixels, label=1)], batch=1).next_batch()
    np.testing.assert_array_equal(batch["data"], pixels[None], strict=True)


@pytest.mark.parametrize(
    "text, decoded",
    [
        ("", lambda bgr: bgr),
        ("force_color: true", lambda bgr: bgr),
        ("force_gray: true", lambda bgr: cv2.imdecode(cv2.imencode(".png", bgr)[1], cv2.IMREAD_GRAYSCALE)[..., None]),
        ("mean_value: [1, 2, 3]", lambda bgr: bgr - np.float32([1, 2, 3])),
        (
            "resize_param { height: 3 width: 10 interp_mode: NEAREST }",
            lambda bgr: cv2.resize(bgr, (10, 3), interpolation=cv2.INTER_NEAREST),
        ),
        ("noise_param { inverse: true }", lambda bgr: 255 - bgr),
        ("crop_h: 2 crop_w: 4", lambda bgr: bgr[2:4, 2:6]),
        ("crop_size: 3", lambda bgr: bgr[1:4, 2:5]),
    ],
)
def test_encoded_images(source, text, decoded):
    batch = source([encoded(image(0)), encoded(image(1))], f"transform_param {{ {text} }}", phase="TEST").next_batch()
    expected = np.stack([np.float32(decoded(image(index))).transpose(2, 0, 1) for index in range(2)])
    np.testing.assert_array_equal(batch["data"], expected, strict=True)


def test_grey_images_stay_grey_through_every_step(source):
    text = (
        "transform_param { resize_param { height: 8 width: 12 } noise_param { jpeg: 90 hist_eq: true } mirror: true }"
    )
    assert source([encoded(image(0)[..., 0])], text, batch=3).next_batch()["data"].shape == (3, 1, 8, 12)


def test_crops_and_mirrors_are_even_and_take_the_mean_of_the_image_along(source, tmp_path):
    """Caffe's data_transformer on raw pixels: every place and both ways as likely; (pixel - mean there) * scale."""
    pixels, mean = values(0, 2, 5, 6), np.random.default_rng(9).uniform(0, 255, (2, 5, 6)).astype(np.float32)
    mean_file(tmp_path / "mean.binaryproto", mean)
    text = 'transform_param { crop_size: 3 mirror: true scale: 0.25 mean_file: "mean.binaryproto" }'
    draws = 2400
    batch = source([raw(pixels)], text, batch=draws).next_batch()["data"]
    whole = (pixels - mean) * np.float32(0.25)
    known = {
        whole[:, top : top + 3, left : left + 3][:, :, ::step].tobytes(): (top, left, step)
        for top in range(3)
        for left in range(4)
        for step in (1, -1)
    }
    counts = Counter(known[one.tobytes()] for one in batch)
    assert len(counts) == 24
    # Each is binomial around 100 with a standard deviation of 9.8.
    assert all(abs(count - draws / 24) < 45 for count in counts.values())


def test_central_crop_of_the_test_phase(source):
    batch = source([raw(values(0, 1, 7, 6))], "transform_param { crop_size: 4 }", phase="TEST", batch=1).next_batch()
    np.testing.assert_array_equal(batch["data"][0], np.float32(values(0, 1, 7, 6)[:, 1:5, 1:5]))


def test_mean_of_the_nets_input_is_not_mirrored_with_an_encoded_image(source, tmp_path):
    """SSD-Caffe's data_transformer on decoded images."""
    mean = np.random.default_rng(9).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    mean_file(tmp_path / "mean.binaryproto", mean)
    batch = source([encoded(image(0))], 'transform_param { mirror: true mean_file: "mean.binaryproto" }', batch=20)
    planes = np.float32(image(0).transpose(2, 0, 1))
    ways = {(planes - mean).tobytes(), (planes[:, :, ::-1] - mean).tobytes()}
    assert {one.tobytes() for one in batch.next_batch()["data"]} == ways


def test_mean_of_the_image_fits_a_crop_of_an_encoded_image(source, tmp_path):
    """BVLC's data_transformer; SSD-Caffe aborts."""
    mean = np.random.default_rng(9).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    mean_file(tmp_path / "mean.binaryproto", mean)
    text = 'transform_param { crop_size: 4 mean_file: "mean.binaryproto" }'
    batch = source([encoded(image(0))], text, phase="TEST", batch=1).next_batch()
    expected = (np.float32(image(0).transpose(2, 0, 1)) - mean)[:, 1:5, 2:6]
    np.testing.assert_array_equal(batch["data"][0], expected)


def test_images_may_change_their_size_from_batch_to_batch(source):
    made = source([encoded(image(0)), encoded(image(1, 4, 9))], batch=1)
    assert [made.next_batch()["data"].shape for _ in range(2)] == [(1, 3, 6, 8), (1, 3, 4, 9)]


RANDOM = "transform_param { crop_size: 4 mirror: true }"


@pytest.fixture
def ten():
    return [encoded(image(index), label=index) for index in range(10)]


def same(one, other) -> bool:
    return all(np.array_equal(one[top], other[top]) for top in ("data", "label"))


def test_batches_depend_on_seed_and_number_alone(source, ten):
    plain, threaded, other = source(ten, RANDOM), source(ten, RANDOM, prefetch=3), source(ten, RANDOM, seed=2)
    batches = [plain.next_batch() for _ in range(8)]
    assert all(same(threaded.next_batch(), batch) for batch in batches)
    assert not all(same(other.next_batch(), batch) for batch in batches)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_restored_source_goes_on_bit_for_bit(source, ten, prefetch):
    first, second = source(ten, RANDOM), source(ten, RANDOM, prefetch=prefetch, seed=77)
    for _ in range(3):
        first.next_batch()
    second.next_batch()
    assert first.state() == {"seed": 1, "position": 6}
    second.restore(first.state())
    assert all(same(first.next_batch(), second.next_batch()) for _ in range(4))


def test_processes_share_a_run(source, ten):
    alone = source(ten, RANDOM, batch=4).next_batch()
    shares = [source(ten, RANDOM, batch=2, order=Order(rank=rank, ranks=2)).next_batch() for rank in range(2)]
    for top in ("data", "label"):
        np.testing.assert_array_equal(alone[top][0::2], shares[0][top])
        np.testing.assert_array_equal(alone[top][1::2], shares[1][top])


def test_rand_skip_leaves_out_records_once(source, ten):
    firsts = {int(source(ten, "data_param { rand_skip: 4 }", seed=seed).next_batch()["label"][0]) for seed in range(40)}
    assert firsts == {0, 1, 2, 3}
    again = source(ten, "data_param { rand_skip: 4 }", seed=5, batch=10)
    one, two = again.next_batch()["label"], again.next_batch()["label"]
    np.testing.assert_array_equal(one, two)


def test_one_top_has_no_labels(tmp_path, lmdb_of, layer_of):
    lmdb_of({"0": raw(values(0))}, "db")
    layer = layer_of('type: "Data" top: "x" data_param { source: "db" batch_size: 1 backend: LMDB }')
    with DataSource(layer, 1, tmp_path) as made:
        assert list(made.next_batch()) == list(made.shape) == ["x"]


HERE = r'^net.prototxt:7: layer "data" \(Data\): '


@pytest.mark.parametrize(
    "records, text, message",
    [
        ([raw(values(0))], "data_param { backend: LEVELDB }", "data_param.backend is LEVELDB.*fix: make an LMDB"),
        ([raw(values(0))], 'data_param { source: "nowhere" }', "nowhere: there is no LMDB here\n.*convert_imageset"),
        ([raw(values(0))], 'data_param { source: "" }', "lacks source or batch_size"),
        ([raw(values(0))], "data_param { batch_size: 0 }", "lacks source or batch_size"),
        ([raw(values(0))], 'top: "more"', "it has 3 tops; expected 1 or 2"),
        ([raw(values(0))], "data_param { shuffle: true }", "records come in the order of their keys\n  fix: remove it"),
        ([raw(values(0))], "data_param { mirror: true }", "data_param.mirror is of no effect.*write mirror in"),
        ([raw(values(0))], "data_param { force_encoded_color: true }", "force_encoded_color is of no effect"),
        ([raw(values(0))], "transform_param { distort_param { hue_prob: 1 } }", "distort_param is of no effect"),
        ([raw(values(0))], "transform_param { expand_param { } }", "expand_param is of no effect in Caffe\n  fix: rem"),
        ([raw(values(0))], "transform_param { emit_constraint { } }", "emit_constraint is of no effect"),
        ([raw(values(0))], "transform_param { crop_h: 2 }", "crop_h 2 and crop_w 0; expected both"),
        (
            [raw(values(0))],
            "transform_param { force_color: true force_gray: true }",
            "has both force_color and force_g",
        ),
        (
            [raw(values(0))],
            "transform_param { resize_param { prob: 0.5 height: 2 width: 2 } }",
            "resize_param.prob is 0.5\n",
        ),
        ([raw(values(0))], "transform_param { mean_value: [1, 2] }", "transform_param has 2 mean_values; expected one"),
        ([raw(values(0))], "transform_param { resize_param { height: 3 } }", "resize_param has height 3 and width 0"),
        (
            [raw(values(0))],
            "transform_param { crop_size: 5 }",
            "db, record 00000000: transform_param crops 5x5 .* from an image of 4x5; expected a crop no larger",
        ),
        (
            [raw(np.float32(values(0)))],
            "transform_param { resize_param { height: 3 width: 3 } }",
            r"resize_param is given, but the image is float32 of 1 channel\(s\)",
        ),
        (
            [raw(values(0, 2))],
            "transform_param { force_gray: true }",
            "40 bytes and 0 floats .* one byte for each pixel of 1 or 3 channels",
        ),
        (
            [Datum(channels=2, height=4, width=5, data=b"12")],
            "",
            "holds 2 bytes and 0 floats for an image of 2 x 4 x 5",
        ),
        ([Datum(label=3)], "", "record 00000000: the record is no image; expected a Datum"),
        ([b"\x05"], "", "record 00000000: the record is no Datum\n  fix: make the LMDB with Caffe's convert_imageset"),
        ([Datum(data=b"no image", encoded=True)], "", r"record 00000000: the image cannot be decoded \(8 bytes\)"),
    ],
)
def test_mistakes(source, records, text, message):
    with pytest.raises(UserError, match=f"(?s){HERE}.*{message}"):
        source(records, text)


def test_records_with_boxes_are_for_another_layer(source, record_of, image_of):
    with pytest.raises(UserError, match=HERE + r'.*AnnotatedDatum\); expected a Datum.*\n  fix: .*"AnnotatedData"'):
        source([record_of(image_of(), (1, 2, 3, 20, 30))])


@pytest.mark.parametrize(
    "second, message",
    [
        (encoded(image(1, 7, 8)), "db, record 00000001: the image is 3×7×8, the first of its batch 3×6×8"),
        (encoded(image(1)[..., 0]), r"record 00000001: the image has 1 channel\(s\); expected 3, as the first image"),
        (Datum(data=b"cut", encoded=True), "record 00000001: the image cannot be decoded"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_bad_record_is_named_and_passed_over(source, second, message, prefetch):
    made = source([encoded(image(0)), second, encoded(image(2), 2), encoded(image(3), 3)], prefetch=prefetch)
    with pytest.raises(UserError, match=HERE + ".*" + message):
        made.next_batch()
    assert made.next_batch()["label"].tolist() == [2, 3]


def test_mean_file_of_another_size(source, tmp_path):
    mean_file(tmp_path / "mean.binaryproto", np.zeros((1, 3, 3), np.float32))
    with pytest.raises(UserError, match=HERE + r".*a mean of 3x3 \(height x width\); expected 4x5, the size of the im"):
        source([raw(values(0))], 'transform_param { crop_size: 3 mean_file: "mean.binaryproto" }')
