"""ImageData layers: batches computed by hand from the files, orders, each mistake of a list or a file."""

from __future__ import annotations

import struct
from collections import Counter

import cv2
import numpy as np
import pytest

from annoset.sources.image_data import ImageDataSource
from annoset.sources.order import Order
from prototxt.errors import UserError

IMAGES = (
    'name: "data" type: "ImageData" top: "data" top: "label" '
    'image_data_param {{ source: "list.txt" batch_size: {batch} }}'
)


def pixels(index: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Four images and their list."""
    (tmp_path / "some images").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"some images/{index}.png"), pixels(index))
    (tmp_path / "list.txt").write_text("".join(f"some images/{index}.png {10 + index}\n" for index in range(4)))
    return tmp_path


@pytest.fixture
def source(folder, layer_of):
    opened = []

    def make(*texts: str, batch: int = 3, phase: str = "TRAIN", seed: int = 1, **options) -> ImageDataSource:
        opened.append(
            ImageDataSource(layer_of(IMAGES.format(batch=batch), *texts, phase=phase), seed, folder, **options)
        )
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_files_in_the_order_of_the_list(source):
    made = source("transform_param { mean_value: [104, 117, 123] scale: 0.5 }")
    assert made.shape == {"data": (3, 3, 6, 8), "label": (3,)}
    assert made.records == 4
    for wanted in ([0, 1, 2], [3, 0, 1]):
        batch = made.next_batch()
        expected = [(pixels(index) - np.float32([104, 117, 123])) * np.float32(0.5) for index in wanted]
        np.testing.assert_array_equal(batch["data"], np.stack(expected).transpose(0, 3, 1, 2), strict=True)
        np.testing.assert_array_equal(batch["label"], np.float32([10 + index for index in wanted]), strict=True)


@pytest.mark.parametrize(
    "text, decoded",
    [
        ("new_height: 5 new_width: 4", lambda path: cv2.resize(cv2.imread(path), (4, 5))),
        ("is_color: false", lambda path: cv2.imread(path, cv2.IMREAD_GRAYSCALE)[..., None]),
        (
            "is_color: false new_height: 5 new_width: 4",
            lambda path: cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), (4, 5))[..., None],
        ),
    ],
)
def test_size_and_colour(source, folder, text, decoded):
    batch = source(f"image_data_param {{ {text} }}", batch=2).next_batch()["data"]
    expected = np.stack([decoded(str(folder / f"some images/{index}.png")) for index in range(2)])
    np.testing.assert_array_equal(batch, np.float32(expected.transpose(0, 3, 1, 2)), strict=True)


def test_root_folder_and_blank_lines(source, folder):
    (folder / "list.txt").write_text("\n2.png -5\n\n")
    batch = source('image_data_param { root_folder: "some images/" }', batch=1).next_batch()
    np.testing.assert_array_equal(batch["data"][0], np.float32(pixels(2).transpose(2, 0, 1)))
    assert batch["label"].tolist() == [-5]


def test_grey_and_turned_files_become_colour_as_they_are_stored(source, folder):
    """cv::imread makes three channels of any file; EXIF's rotation is left alone, as by OpenCV before 3.1."""
    cv2.imwrite(str(folder / "grey.png"), pixels(5)[..., 0])
    jpeg = cv2.imencode(".jpg", np.full((6, 8, 3), 90, np.uint8))[1].tobytes()
    exif = b"Exif\0\0II" + struct.pack("<HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 6, 0)  # turned by 90 degrees
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (folder / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert cv2.imread(str(folder / "turned.jpg")).shape == (8, 6, 3)
    (folder / "list.txt").write_text("grey.png 0\nturned.jpg 1\n")
    batch = source(batch=2).next_batch()["data"]
    np.testing.assert_array_equal(batch[0], np.float32(np.stack([pixels(5)[..., 0]] * 3)))
    np.testing.assert_array_equal(batch[1], np.full((3, 6, 8), 90, np.float32))


def test_shuffling_gives_each_round_an_order_of_its_own(source):
    made = source("image_data_param { shuffle: true }", batch=4)
    rounds = Counter(tuple(made.next_batch()["label"].tolist()) for _ in range(1200))
    assert len(rounds) == 24 and all(sorted(one) == [10, 11, 12, 13] for one in rounds)
    # Each is binomial around 50 with a standard deviation of 6.9.
    assert all(abs(count - 50) < 35 for count in rounds.values())


def test_a_shuffled_run_is_restored_and_shared(source):
    text = "image_data_param { shuffle: true rand_skip: 3 } transform_param { mirror: true }"
    whole, threaded = source(text, batch=2), source(text, batch=2, prefetch=2, seed=8)
    whole.next_batch()
    threaded.restore(whole.state())
    shares = [source(text, batch=1, order=Order(rank=rank, ranks=2)) for rank in range(2)]
    for share in shares:
        share.next_batch()
    for _ in range(6):
        one, other = whole.next_batch(), threaded.next_batch()
        parts = [share.next_batch() for share in shares]
        for top in ("data", "label"):
            np.testing.assert_array_equal(one[top], other[top])
            np.testing.assert_array_equal(one[top], np.concatenate([part[top] for part in parts]))


HERE = r'^net.prototxt:7: layer "data" \(ImageData\): '


@pytest.mark.parametrize(
    "listed, text, message",
    [
        ("a.png 0", "", HERE + r".*a.png \(.*list.txt:1\): there is no such file$"),
        (
            "a.png 0",
            'image_data_param { root_folder: "some images" }',
            r'some imagesa.png \(.*\n  fix: end root_folder with a slash: "some images/"',
        ),
        ("some images/0.png zero", "", r'list.txt:1: the line is "some images/0.png zero"; expected the path of an im'),
        ("some images/0.png 0\n0.png\t1", "", r"list.txt:2: the line is .0.png\t1.; expected"),
        ("7", "", "list.txt:1: the line is .7.; expected"),
        ("", "", "list.txt: the list of images is empty"),
        ("list.txt 0", "", HERE + r".*list.txt \(.*list.txt:1\): the image cannot be decoded \(10 bytes\)"),
        ("some images/0.png 0", 'image_data_param { source: "none.txt" }', "none.txt: there is no such file"),
        ("some images/0.png 0", 'image_data_param { source: "" }', HERE + "image_data_param lacks source"),
        ("some images/0.png 0", "image_data_param { batch_size: 0 }", HERE + ".*has a batch_size of 0"),
        (
            "some images/0.png 0",
            "image_data_param { new_width: 4 }",
            HERE + ".*new_height 0 and new_width 4; expected b",
        ),
        ("some images/0.png 0", "image_data_param { scale: 2 }", HERE + "image_data_param.scale is of no effect"),
        ("some images/0.png 0", "transform_param { force_gray: true }", HERE + ".*write is_color in image_data_param"),
        ("some images/0.png 0", 'top: "third"', HERE + "it has 3 tops; expected 2, data and label"),
        ("some images/0.png 0", "transform_param { crop_size: 7 }", "0.png .*crops 7x7 .* from an image of 6x8"),
    ],
)
def test_mistakes(source, folder, listed, text, message):
    (folder / "list.txt").write_text(listed)
    with pytest.raises(UserError, match=f"(?s){message}"):
        source(text)


def test_images_of_other_sizes_in_a_batch(source, folder):
    cv2.imwrite(str(folder / "some images/1.png"), pixels(1, 9, 8))
    made = source(batch=2)
    with pytest.raises(
        UserError, match=HERE + r".*1.png \(.*list.txt:2\): the image is 3×9×8, the first of its batch 3×6×8"
    ):
        made.next_batch()
