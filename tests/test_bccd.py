"""The published 300×300 net on real pictures, from annotations to an ONNX file, no file touched by hand between."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_scratchdet_on_blood_cells(shared, tmp_path, monkeypatch, capsys):
    from netgen.commands.main import app

    def netgen(command: str):
        return app(command.split(), standalone_mode=False)

    monkeypatch.chdir(tmp_path)
    netgen(f"lmdb voc {shared}/data/bccd --split trainval -o trainval_lmdb")
    netgen(f"lmdb voc {shared}/data/bccd --split test --labelmap labelmap.prototxt -o test_lmdb")
    netgen(
        "build scratchdet300-root34 --labelmap labelmap.prototxt --train-lmdb trainval_lmdb --test-lmdb test_lmdb"
        " --name-size test_name_size.txt --gpus 0 --batch-size 2 --iter-size 1 --base-lr 0.001 --max-iter 10"
        " --random-seed 1 -o net"
    )
    netgen("train --solver net/solver.prototxt")
    weights = "net/scratchdet300-root34_iter_10.caffemodel"
    score = netgen(f"test --solver net/solver.prototxt --weights {weights} --iterations 1")
    netgen(f"convert net/deploy.prototxt {weights} -o net.onnx")
    capsys.readouterr()
    netgen("summary net/deploy.prototxt --format json")
    total = json.loads(capsys.readouterr().out)["total"]

    assert 0 <= score <= 1
    # Three classes and the background: 24,553,262 parameters less 17 classes of every conf head (8,892 priors of 4 or
    # 6 a cell on 256, 512 and four times 128 channels).
    heads = sum(
        17 * priors * (9 * channels + 1) for priors, channels in [(4, 256), (6, 512), *[(6, 128)] * 2, *[(4, 128)] * 2]
    )
    assert total["parameters"] == 24_553_262 - heads
    assert (tmp_path / "net.onnx").stat().st_size > 4 * total["parameters"]
    assert len(list((tmp_path / "net/results").glob("comp4_det_test_*.txt"))) == 3
