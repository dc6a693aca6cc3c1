"""`netgen verify --onnx` on every kind of file that `netgen convert` writes, right and wrong."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
import typer
from onnx import numpy_helper

from converters.caffemodel import read_weights
from converters.files import read_trained, write_caffemodel, write_state_dict
from converters.onnx import export, write_onnx
from converters.onnx.builder import Open
from converters.onnx.deploy import Deployment, deploy
from converters.onnx.pixels import Values
from converters.proof import verify as verify_module
from converters.proof.backends import BACKENDS
from converters.proof.given_onnx import read_given
from converters.proof.samples import Sample
from converters.proof.values import ends_of
from converters.proof.verify import verify
from netgen.commands import verify as verify_command
from netgen.commands.verify_inputs import Pixels, open_samples, random_samples
from prototxt.errors import UserError
from prototxt.graph import Graph
from tests.converters.small_ssd import NET, write_ssd

# Channels of different means, so that an input whose channels are swapped is seen.
HOW = Pixels((10.0, 120.0, 230.0), 0.01)
VALUES = Values(HOW.mean, HOW.scale)
BODY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "up" type: "Deconvolution" bottom: "c1" top: "up"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 } }
"""


@pytest.fixture(autouse=True)
def two(monkeypatch):
    """Only PyTorch and ONNX Runtime take part."""
    kept = {name: BACKENDS[name] for name in ("PyTorch", "ONNX Runtime")}
    monkeypatch.setattr(verify_module, "BACKENDS", kept)


@pytest.fixture
def files(tmp_path):
    return write_ssd(tmp_path)


def write(folder, files, **how):
    """The ONNX file, the net's graph, and samples for it."""
    graph = Graph.load(files[0])
    model, _ = deploy(graph, read_weights(files[1]), Deployment(**how))
    write_onnx(folder / "net.onnx", model)
    return folder / "net.onnx", graph, random_samples(graph, 2, HOW, 5)


@pytest.mark.parametrize(
    "how",
    [
        {"opset": 15},
        {"opset": 21, "fold": False},
        {"input": "uint8-bgr", "values": VALUES},
        {"input": "uint8-rgb", "values": VALUES},
        {"input": "uint8-rgb", "values": VALUES, "is_open": Open(batch=True)},
    ],
    ids=str,
)
def test_ways_to_deploy(files, tmp_path, how):
    path, _, samples = write(tmp_path, files, **how)
    found = verify(*files, samples, path, layers=True)
    assert [d.blob for d in found.differences] == ["loc_f", "conf_f", "found"]
    assert found.differences[2].compared == 40 and max(d.largest for d in found.differences) < 5e-6
    assert found.facts["opset"] == str(how.get("opset", 17)) and len(found.layers) == 11


def test_channels_in_another_order_are_found(files, tmp_path):
    """A file whose metadata say that it takes R, G, B while it takes B, G, R."""
    path, _, samples = write(tmp_path, files, input="uint8-bgr", values=VALUES)
    model = onnx.load(path)
    (order,) = (entry for entry in model.metadata_props if entry.key == "channel_order")
    order.value = "RGB"
    onnx.save(model, path)
    found = verify(*files, samples, path, layers=True)
    assert found.first_apart(1e-4)["ONNX Runtime"].blob == "conv@conv" and len(found.unexplained(1e-4)) == 3


def test_mean_and_scale_as_the_file_says(files, tmp_path, capsys):
    """Without --mean the file's own; another mean than it has inside is a difference."""
    path, *_ = write(tmp_path, files, input="uint8-bgr", values=VALUES)
    verify_command.verify(*files, path)
    assert "above" not in capsys.readouterr().out
    with pytest.raises(typer.Exit):
        verify_command.verify(*files, path, mean="104,117,123", scale=0.01)
    verify_command.verify(*files, path, mean="10,120,230", scale=0.01)


def test_numbers_for_a_model_of_pictures(files, tmp_path):
    path, graph, _ = write(tmp_path, files, input="uint8-bgr", values=VALUES)
    with pytest.raises(UserError, match='the model\'s input "data" takes pictures, and input 0 is none'):
        verify(*files, [{"data": np.zeros(graph.inputs["data"], np.float32)}], path)


def test_raw_head(files, tmp_path):
    """What DetectionOutput would read, and what it makes of it."""
    path, _, samples = write(tmp_path, files, postprocess="none")
    found = verify(*files, samples, path)
    assert [(d.blob, d.compared) for d in found.differences] == [
        ("loc_f", 2 * 768), ("conf_f", 2 * 576), ("prior", 2 * 1536), ("found", 40)]  # fmt: skip
    assert found.notes == ['the ONNX file ends before "found"']
    assert max(d.largest for d in found.differences) < 1e-5


@pytest.mark.parametrize("first_stage", [False, True])
def test_tensorrt_end(tmp_path, first_stage):
    """Boxes and scores that the plug-in reads, decoded by this toolkit's own DetectionOutput."""
    files = write_ssd(tmp_path, with_first_stage() if first_stage else NET)
    path, _, samples = write(tmp_path, files, postprocess="efficient-nms")
    found = verify(*files, samples, path)
    last = {d.blob: d for d in found.differences[-2:]}
    assert {name: d.compared for name, d in last.items()} == {"found/boxes": 2 * 768, "found/scores": 2 * 576}
    assert max(d.largest for d in found.differences) < 1e-5 and "found" not in {d.blob for d in found.differences}
    assert len(found.notes) == 1 and found.notes[0].endswith('what it reads is "found/boxes" and "found/scores"')
    # A box that is decoded with other variances is seen.
    model = onnx.load(path)
    (variances,) = (tensor for tensor in model.graph.initializer if tensor.name == "found/variances")
    variances.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(variances) * 2, variances.name))
    onnx.save(model, path)
    wrong = verify(*files, samples, path).unexplained(1e-4)
    assert [d.blob for d in wrong] == ["found/boxes"] and wrong[0].largest > 0.01


def with_first_stage() -> str:
    """RefineDet's cascade on the same map: `arm` says what is an object, `move` moves the priors."""
    before = 'layer { name: "prior"'
    text = NET
    for name, old, count, new in (("arm", "conf", "12", "8"), ("move", "loc", "16", "16")):
        for layer in ("layer {" + line for line in NET.split("layer {")[1:]):
            if f'name: "{old}' in layer:
                layer = layer.replace(f'"{old}', f'"{name}').replace(f"num_output: {count}", f"num_output: {new}")
                text = text.replace(before, layer.replace("dim: 3 }", "dim: 2 }") + before)
    text = text.replace('bottom: "prior" top: "found"', 'bottom: "prior" bottom: "arm_f" bottom: "move_f" top: "found"')
    return text.replace("keep_top_k: 20", "keep_top_k: 20 objectness_score: 0.3")


@pytest.mark.parametrize(("name", "value"), [("iou_threshold", 0.5), ("max_output_boxes", 7), ("background_class", 1)])
def test_a_plugin_that_is_told_something_else(files, tmp_path, name, value):
    path, _, samples = write(tmp_path, files, postprocess="efficient-nms")
    model = onnx.load(path)
    (attribute,) = (a for node in model.graph.node for a in node.attribute if a.name == name)
    attribute.CopyFrom(onnx.helper.make_attribute(name, value))
    onnx.save(model, path)
    with pytest.raises(
        UserError, match=rf'{name} of "found/EfficientNMS_TRT" is {value}; expected .* as .*net.prototxt'
    ):
        verify(*files, samples, path)


def test_float16(files, tmp_path, capsys):
    """A looser tolerance, which is said; its detections against those of its own predictions."""
    path, _, samples = write(tmp_path, files, half=True)
    found = verify(*files, samples, path, layers=True)
    assert found.tolerances() == {"PyTorch": 1e-4, "ONNX Runtime": 3e-2} and found.halves == {"ONNX Runtime"}
    assert found.tolerances(1e-3) == {"PyTorch": 1e-3, "ONNX Runtime": 1e-3}
    apart = {d.blob: d for d in found.differences}
    assert 1e-5 < apart["loc_f"].largest < 1e-2 and 1e-5 < apart["conf_f"].largest < 1e-2
    assert apart["found"].compared == 40 and apart["found"].largest < 1e-6
    verify_command.verify(*files, path, scale=0.01)
    out = capsys.readouterr().out
    assert "tolerance 0.03" in out and "note: the ONNX file computes in float16" in out
    assert 'note: "found" is held against the detections of the float16 predictions' in out
    with pytest.raises(typer.Exit):
        verify_command.verify(*files, path, scale=0.01, tolerance=1e-4)


def test_ends_that_are_not_computed_without_pytorch(files, tmp_path, monkeypatch):
    """What the file itself shows is compared; of float32 and float16 the first is the reference."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer")
    monkeypatch.setattr(verify_module, "BACKENDS", {name: BACKENDS[name] for name in ("ONNX Runtime", "OpenCV")})
    monkeypatch.setitem(sys.modules, "torch", None)
    for how, blobs in (
        ({"postprocess": "none"}, ["loc_f", "conf_f", "prior"]),
        ({"postprocess": "efficient-nms"}, ["loc_f", "conf_f"]),
        ({"half": True}, ["loc_f", "conf_f"]),
    ):
        path, _, samples = write(tmp_path, files, **how)
        found = verify(*files, samples, path)
        assert [d.blob for d in found.differences] == blobs and not found.unexplained(found.tolerances())
        assert found.notes[-1] == "torch is not installed, so detections are not compared"
        assert found.reference == ("OpenCV" if "half" in how else "ONNX Runtime")


def test_open_batch(files, tmp_path, capsys):
    path, graph, samples = write(tmp_path, files, is_open=Open(batch=True))
    samples += open_samples(graph, {"data": (0,)}, HOW, 5)
    assert samples[2].name == "random, data 2×3×12×16"
    found = verify(*files, samples, path)
    of_two = {case.blob: case for case in found.cases if case.input == samples[2].name}
    assert of_two["loc_f"].compared == 2 * 768 and of_two["found"].compared == 40
    assert max(case.largest for case in found.cases) < 1e-5
    verify_command.verify(*files, path, scale=0.01)
    assert "random, data 2×3×12×16" in capsys.readouterr().out


def test_open_batch_of_a_gate(tmp_path):
    """GRP-DSOD's: a Scale whose factors, one a channel of each image, are computed."""
    files = write_ssd(
        tmp_path,
        BODY
        + """
        layer { name: "mean" type: "Pooling" bottom: "up" top: "mean" pooling_param { pool: AVE global_pooling: true } }
        layer { name: "fc" type: "InnerProduct" bottom: "mean" top: "fc" inner_product_param { num_output: 2 } }
        layer { name: "gate" type: "Scale" bottom: "up" bottom: "fc" top: "gate" scale_param { axis: 0 } }""",
    )
    path, graph, samples = write(tmp_path, files, is_open=Open(batch=True))
    found = verify(*files, samples + open_samples(graph, {"data": (0,)}, HOW, 0), path)
    assert [(d.blob, d.compared) for d in found.differences] == [("gate", 4 * 2 * 22 * 30)]
    assert found.differences[0].largest < 1e-5


def test_open_size(tmp_path, capsys):
    files = write_ssd(tmp_path, BODY)
    path, *_ = write(tmp_path, files, is_open=Open(batch=True, size=True))
    verify_command.verify(*files, path)
    out = capsys.readouterr().out
    # (12 - 2) and (16 - 2) cells, twice and 2 more; 2 channels; and of two images of twice the size
    assert f"{2 * 22 * 30 + 2 * 2 * 46 * 62:,} values" in out and "random, data 2×3×24×32" in out


def test_samples_of_other_sizes_pass_by_what_takes_one(files, tmp_path):
    path, graph, samples = write(tmp_path, files)
    samples += open_samples(graph, {"data": (0,)}, HOW, 5)
    assert {case.input for case in verify(*files, samples, path).cases} == {"random 0", "random 1"}


def test_data_beside_the_model(files, tmp_path, monkeypatch):
    """As of models above 2 GB; data outside the folder is refused before anything reads it."""
    monkeypatch.setattr(export, "_LARGEST", 1000)
    monkeypatch.setattr(export, "_SMALL", 100)
    path, graph, samples = write(tmp_path, files)
    assert (tmp_path / "net.onnx.data").stat().st_size > 1000
    given = read_given(path, graph, read_weights(files[1]), ends_of(graph))
    assert {"conv/weight"} <= set(given.external) and given.external["conv/weight"].shape == (24, 3, 3, 3)
    assert max(d.largest for d in verify(*files, samples, path).differences) < 1e-5
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"has its data in '../secret', outside the model's folder"):
        verify(*files, samples, path)


def test_data_of_a_node_outside(files, tmp_path):
    path, _, samples = write(tmp_path, files)
    model = onnx.load(path)
    tensor = onnx.TensorProto(name="t", dims=[1], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["other"], value=tensor))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match='tensor "t" of a node has its data in another file; expected its values'):
        verify(*files, samples, path)


def test_weights_above_2_gb(files, tmp_path, monkeypatch):
    """No binary caffemodel holds them, nor one ONNX message."""
    monkeypatch.setattr("converters.proof.verify.LARGEST_MESSAGE", 1000)
    monkeypatch.setattr("converters.proof.given_onnx.LARGEST_MESSAGE", 1000)
    monkeypatch.setattr(verify_module, "BACKENDS", BACKENDS)
    trained, out = read_trained(*files), tmp_path / "net.caffemodel.h5"
    write_caffemodel(trained, out)
    path, _, samples = write(tmp_path, files)
    found = verify(files[0], out, samples, path)
    assert found.seconds.keys() == {"PyTorch", "ONNX Runtime"}
    assert found.skipped["MNN"] == "weights of 2 GB and more fit into no binary caffemodel"
    with pytest.raises(UserError, match=r"Runtime: the net has no ONNX form here: it is too large for one message"):
        verify(files[0], out, samples)


def test_models_that_cannot_run(files, tmp_path):
    path, _, samples = write(tmp_path, files)
    model = onnx.load(path)
    model.graph.node[0].op_type = "Convolute"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"net.onnx: ONNX Runtime cannot load it: .*Convolute"):
        verify(*files, samples, path)
    path, *_ = write(tmp_path, files)
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["data", "far"], ["other"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, 7]), "far"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"net.onnx: ONNX Runtime cannot (load it|run it on random 0): .*"):
        verify(*files, samples, path)


def test_a_file_is_not_passed_over(files, tmp_path, monkeypatch):
    path, _, samples = write(tmp_path, files)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"net.onnx: onnxruntime is not installed, so it cannot be run"):
        verify(*files, samples, path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".caffemodel.h5"])
def test_weights_of_other_forms(files, tmp_path, monkeypatch, ending):
    """Importers of caffemodels get one that is made for them."""
    trained, out = read_trained(*files), tmp_path / f"other{ending}"
    (write_caffemodel if ending.endswith("h5") else write_state_dict)(trained, out)
    seen = []
    torch_alone = BACKENDS["PyTorch"]

    def load(job):
        seen.append((job.caffemodel, read_weights(job.caffemodel)))
        return torch_alone(job)

    monkeypatch.setattr(verify_module, "BACKENDS", {**verify_module.BACKENDS, "OpenCV": load})
    monkeypatch.setattr(verify_module, "version_of", str)
    found = verify(files[0], out, random_samples(Graph.load(files[0]), 1, HOW, 0))
    assert max(d.largest for d in found.differences) < 1e-5
    ((path, weights),) = seen
    assert path.suffix == ".caffemodel" and not path.exists()
    assert all(np.array_equal(a, b) for name, blobs in trained.weights.items() for a, b in zip(blobs, weights[name]))


def test_real_nets_deployed(shared, tmp_path):
    """WeChat's detector as a camera's model: grey bytes, open batch."""
    files = [shared / "models/wechat_qr" / name for name in ("detect.prototxt", "detect.caffemodel")]
    how = {"input": "uint8-grey", "values": Values((0.0,), 1 / 255), "is_open": Open(batch=True)}
    path, graph, _ = write(tmp_path, files, **how)
    pixels = Pixels((0.0,), 1 / 255)
    samples = random_samples(graph, 1, pixels, 0) + open_samples(graph, {"data": (0,)}, pixels, 0)
    found = verify(*files, samples, path)
    assert [d.compared for d in found.differences][:2] == [3 * 27_648, 3 * 13_824]
    assert max(d.largest for d in found.differences) < 1e-5
    assert isinstance(samples[0], Sample) and samples[0].pixels["data"].shape == (1, 384, 384, 1)
