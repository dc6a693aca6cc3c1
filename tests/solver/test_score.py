"""Average precision: figures worked out by hand, in SSD-Caffe's way."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.errors import UserError
from solver.score import AP_VERSIONS, DetectionScore, mean_average_precision, precision_recall

# Hits by falling score: 1 0 1 1 0, of 4 ground truths: precision 1, 1/2, 2/3, 3/4, 3/5; recall 1/4, 1/4, 2/4, 3/4, 3/4
HITS, SCORES = np.array([1, 0, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])


def measured(version: str, hits=HITS, positives=4) -> float:
    return AP_VERSIONS[version](*precision_recall(np.array(hits), -np.arange(len(hits)), positives))


def test_eleven_points():
    # recalls 0, .1, .2: precision 1; .3 to .7: 3/4; .8 to 1: 0
    assert measured("11point") == pytest.approx((3 * 1 + 5 * 0.75) / 11)


def test_max_integral_takes_the_best_precision_at_that_recall_or_beyond():
    assert measured("MaxIntegral") == pytest.approx(0.25 * 1 + 0.25 * 0.75 + 0.25 * 0.75)
    assert measured("MaxIntegral", [1, 0, 1], 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert measured("MaxIntegral", [0, 1, 1], 3) == pytest.approx(2 / 3 * 2 / 3)


def test_integral():
    assert measured("Integral") == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.25 * 3 / 4)


@pytest.mark.parametrize("version", ["11point", "MaxIntegral", "Integral"])
def test_perfect_and_hopeless(version):
    assert measured(version, [1, 1], 2) == pytest.approx(1)
    assert measured(version, [0, 0], 2) == 0
    assert measured(version, [1], 1) == pytest.approx(1)


def test_seven_of_ten_does_not_reach_the_point_at_0_7():
    # 0.7 in float32 is below 0.7 in double, and Caffe compares the two
    assert measured("11point", [1] * 7, 10) == pytest.approx(7 / 11)
    assert measured("11point", [1] * 3, 10) == pytest.approx(4 / 11)


def test_equal_scores_keep_their_order():
    precision, recall = precision_recall(np.array([0, 1, 1]), np.array([0.5, 0.5, 0.9]), 2)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert recall.tolist() == pytest.approx([0.5, 0.5, 1])


def rows(*rows) -> np.ndarray:
    return np.array(rows, np.float32).reshape(1, 1, -1, 5)


def test_rows_add_up_over_batches():
    score = DetectionScore()
    score.add(rows([-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1], [0, 1, 0.9, 1, 0], [0, 2, 0.8, 0, 1]))
    score.add(rows([-1, 1, 1, -1, -1], [-1, 2, 1, -1, -1], [0, 1, 0.7, 0, 1], [1, 1, 0.6, 1, 0]))
    found = score.average_precisions("Integral")
    assert found == {1: pytest.approx(0.5 * 1 + 0.5 * 2 / 3), 2: 0}
    assert mean_average_precision(found) == pytest.approx((0.5 + 1 / 3) / 2)


def test_difficult_ground_truth_counts_neither_way():
    score = DetectionScore()
    score.add(rows([-1, 1, 1, -1, -1], [0, 1, 0.9, 0, 0], [0, 1, 0.8, 1, 0]))
    assert score.average_precisions("Integral") == {1: pytest.approx(1)}


def test_a_class_without_ground_truth_counts_as_0_in_the_mean():
    score = DetectionScore()
    score.add(rows([-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1], [0, 1, 0.8, 1, 0]))
    assert mean_average_precision(score.average_precisions("11point")) == pytest.approx(0.5)


def test_rows_of_another_layer_are_refused():
    with pytest.raises(
        UserError, match=r'"detection_eval" of the test net is 1×1×3×7; expected rows of 5 .*\n  fix: end the'
    ):
        DetectionScore().add(np.zeros((1, 1, 3, 7)))


def test_measured_evaluation_rows(shared):
    """Rows that SSD-Caffe wrote are read as what they are: counts first, then detections."""
    cases = sorted((shared / "oracle/layers").glob("detectionevaluate*.npz"))
    assert cases, "the folder of measured layers has no DetectionEvaluate"
    for path in cases:
        case = np.load(path)
        out = next(case[key] for key in case if key.startswith("out/"))
        score = DetectionScore()
        score.add(out)
        counted = {int(row[1]) for row in out.reshape(-1, 5) if row[0] == -1}
        found = score.average_precisions("11point")
        assert set(found) == counted
        assert all(0 <= value <= 1 for value in found.values())
