"""Which layers of small nets are found to be passes of one loop."""

from __future__ import annotations

import pytest

from prototxt.boxes import net_of
from prototxt.cluster import find_runs
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.schema import NetParameter
from prototxt.text import parse
from prototxt.wording import braced, common, span_of_shapes, title

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 8 dim: 9 dim: 12 } } }'


def conv(name: str, bottom: str, outputs: int = 8, kernel: int = 1) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param '
        f"{{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} }} }}"
    )


def join(kind: str, name: str, *bottoms: str) -> str:
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(f"bottom: {b!r}" for b in bottoms)} top: "{name}" }}'


def residual(number: int, bottom: str, outputs: int = 8) -> list[str]:
    return [
        conv(f"a{number}", bottom, 4),
        conv(f"b{number}", f"a{number}", outputs, 3),
        join("Eltwise", f"sum{number}", bottom, f"b{number}"),
    ]


def runs_of(*layers: str):
    net = net_of(Graph(net_file(parse("\n".join((INPUT, *layers)), NetParameter()).message)))
    return [
        (run.count, [net.boxes[i].name for i in range(run.start, run.start + run.length)], title(net, run))
        for run in find_runs(net)
    ]


def chain(count: int) -> list[str]:
    layers, bottom = [], "data"
    for number in range(count):
        layers += residual(number, bottom)
        bottom = f"sum{number}"
    return layers


def test_a_chain_of_residual_blocks():
    heads = ["4 × residual block, one after the other", "a0 … sum3; 8 channels"]
    assert runs_of(*chain(4)) == [(4, ["a0", "b0", "sum0"], heads)]


def test_two_small_blocks_save_enough_and_two_convolutions_do_not():
    assert [found[:2] for found in runs_of(*chain(2))] == [(2, ["a0", "b0", "sum0"])]
    assert runs_of(conv("a", "data"), conv("b", "a"), conv("c", "b")) == []


def test_a_chain_is_cut_after_a_block_that_others_read():
    tap = [conv("tap", "sum2", 3), join("Concat", "both", "tap", "sum4")]
    found = runs_of(*chain(5), *tap)
    assert [(count, names) for count, names, _ in found] == [(3, ["a0", "b0", "sum0"]), (2, ["a3", "b3", "sum3"])]


def test_a_block_with_other_numbers_is_no_part_of_a_chain():
    layers = chain(3)
    layers[4] = layers[4].replace("kernel_size: 3 pad: 1", "kernel_size: 5 pad: 2")
    assert runs_of(*layers) == []


def test_dense_layers():
    layers, bottom = [], "data"
    for n in range(3):
        layers += [conv(f"a{n}", bottom, 16), conv(f"b{n}", f"a{n}", 5, 3), join("Concat", f"cat{n}", bottom, f"b{n}")]
        bottom = f"cat{n}"
    heads = ["3 × dense layer, one after the other", "a0 … cat2; 8 → 23 channels"]
    assert runs_of(*layers, conv("end", bottom)) == [(3, ["a0", "b0", "cat0"], heads)]


def heads_of(count: int) -> list[str]:
    """A map for each head; every head has its own number of outputs."""
    layers = [conv(f"map{n}", "data" if n == 0 else f"map{n - 1}", 8 + n, 3) for n in range(count)]
    for n in range(count):
        layers += [conv(f"loc{n}", f"map{n}", 4 * (n + 1)), conv(f"conf{n}", f"map{n}", 3 * (n + 1), 3)]
    return layers


def test_heads_side_by_side_may_differ_in_numbers():
    joins = [join("Concat", "loc", "loc0", "loc1", "loc2"), join("Concat", "conf", "conf0", "conf1", "conf2")]
    heads = ["3 × block, side by side", "loc0 … conf2"]
    assert runs_of(*heads_of(3), *joins) == [(3, ["loc0", "conf0"], heads)]


def test_readers_that_would_have_to_be_told_apart_prevent_folding():
    joins = [join("Concat", "some", "loc0", "loc1", "conf2"), join("Concat", "rest", "conf0", "conf1", "loc2")]
    assert runs_of(*heads_of(3), *joins) == []


def test_inputs_are_not_folded():
    inputs = [INPUT.replace('"data"', f'"data{n}"') for n in range(6)]
    assert runs_of(*inputs) == []


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("conv1", "conv1", "conv1"),
        ("Convolution4", "Convolution14", "Convolution{4…14}"),
        ("conv4_3_norm_mbox_loc", "conv9_2_mbox_loc", "conv{4_3_norm…9_2}_mbox_loc"),
        ("First_norm", "Sixth_norm", "{First…Sixth}_norm"),
        ("a", "b", "{a…b}"),
        ("res", "res2", "res{…2}"),
    ],
)
def test_names_of_a_series(first, last, name):
    assert braced(first, last) == name


def test_texts_of_a_series():
    assert common(["Convolution 3×3 → 16", "Convolution 3×3 → 24"]) == "Convolution 3×3 → 16, 24"
    assert common(["x 1"] * 9) == "x 1"
    assert common([f"x {n % 2}" for n in range(9)]) == "x 0, 1"
    assert common(["Pooling MAX 2×2", "Pooling MAX 2×2 /2"]) == "Pooling MAX 2×2 | Pooling MAX 2×2 /2"


def test_shapes_of_a_series():
    assert span_of_shapes([(1, 128, 75, 75), (1, 176, 75, 75), (1, 224, 75, 75)]) == "1×128…224×75×75"
    assert span_of_shapes([(1, 4)]) == "1×4"
    assert span_of_shapes([(), ()]) == "scalar"
    assert span_of_shapes([(1, 4, 2, 2), (1, 16)]) == "1×4×2×2 … 1×16"
