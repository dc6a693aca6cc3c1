"""The CSV of a run, its picture, and lines on a screen."""

from __future__ import annotations

import io

import cv2
import pytest
from rich.console import Console

from prototxt.errors import UserError
from solver.log import RunLog, Screen, plot_losses, read_log


def fill(path, start=0, upto=3):
    log = RunLog(path, start)
    for iteration in range(start, upto):
        log.write(iteration, [("loss", 3 - iteration), ("lr", 0.1)])
    log.write(upto, [("test/detection_eval", 0.25 * upto)])
    log.close()


def test_csv(tmp_path):
    fill(tmp_path / "x.log.csv", upto=1)
    assert (tmp_path / "x.log.csv").read_text() == (
        "iteration,quantity,value\n0,loss,3\n0,lr,0.1\n1,test/detection_eval,0.25\n"
    )


def test_a_resumed_run_replaces_what_it_computes_again(tmp_path):
    path = tmp_path / "x.log.csv"
    fill(path, upto=3)
    fill(path, start=2, upto=4)
    assert [row[:2] for row in read_log(path)] == [
        *[(i, name) for i in range(4) for name in ("loss", "lr")],
        (4, "test/detection_eval"),
    ]


def test_a_new_run_begins_a_new_file(tmp_path):
    fill(tmp_path / "x.log.csv", upto=3)
    fill(tmp_path / "x.log.csv", upto=1)
    assert len(read_log(tmp_path / "x.log.csv")) == 3


def test_a_line_cut_short_is_left_out(tmp_path):
    (tmp_path / "x").write_text("iteration,quantity,value\n0,loss,3\n1,lo")
    assert read_log(tmp_path / "x") == [(0, "loss", 3.0)]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_log(tmp_path / "x")
    for text in ("", "a,b\n1,2\n", "iteration,quantity,value\none,loss,3\n"):
        (tmp_path / "x").write_text(text)
        with pytest.raises(UserError, match="not the log of a run; expected iteration,quantity,value"):
            read_log(tmp_path / "x")


def test_plot(tmp_path):
    fill(tmp_path / "x.log.csv")
    plot_losses(tmp_path / "x.log.csv", tmp_path / "loss.png")
    image = cv2.imread(str(tmp_path / "loss.png"))
    assert image.shape == (600, 960, 3)
    assert len({tuple(pixel) for pixel in image.reshape(-1, 3).tolist()}) > 10


def screen(terminal: bool) -> tuple[Screen, io.StringIO]:
    text = io.StringIO()
    return Screen(Console(file=text, force_terminal=terminal, width=80)), text


def test_plain_lines_without_a_terminal():
    made, text = screen(False)
    with made.open():
        for step in made.track(range(2), "train", 0, 2):
            made.line(f"[step] {step}, " + "x" * 100)
    assert text.getvalue() == "".join(f"[step] {step}, " + "x" * 100 + "\n" for step in range(2))


def test_a_bar_with_rate_and_end_on_a_terminal():
    made, text = screen(True)
    with made.open():
        for _ in made.track(range(3, 5), "train", 3, 5):
            made._bars.refresh()
    assert "train" in text.getvalue() and "4/5" in text.getvalue() and "/s" in text.getvalue()
