"""Every model's deploy net in PyTorch, in ONNX Runtime and in the importers of others: the same detections."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.caffemodel import write_weights
from converters.proof import verify as verify_module
from converters.proof.backends import BACKENDS
from converters.proof.verify import Comparison, verify
from converters.pytorch import CaffeNet
from netgen.zoo import MODELS, build
from prototxt.graph import Graph
from prototxt.io import net_file, write_text

TOLERANCE = 1e-4
# What every run of the suite takes; with `test_batch` these have each kind of layer that the others have.
QUICK = ("mobilenet-ssd300", "dsod300-smallest", "grp-dsod320")
EACH_MODEL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]

# What an importer cannot read at all, and why in its own words.
UNREAD = {("grp-dsod320", "MNN"): "w0->blobs_size() >= 1 ==> caffemodel error"}  # Scale with two bottoms has no blobs
# What an importer reads otherwise than Caffe, beside MNN's leaving out `top_k`, which concerns every model.
FRACTIONS = "does not cut the sizes of prior boxes to whole pixels"
FIRST_STAGE = "leaves out the first stage"
MISREAD = {
    **{(name, backend): FRACTIONS
       for name in ("dsod512", "scratchdet512-mmdet", "scratchdet512-root34", "ssd512-vgg16", "grp-dsod320")
       for backend in ("OpenCV", "MNN")},
    **{(name, "OpenCV"): FIRST_STAGE for name in MODELS if name.startswith("refinedet")},
}  # fmt: skip


def image_of(graph: Graph) -> np.ndarray:
    """Waves and noise, of the values that a picture has without its mean."""
    n, channels, height, width = graph.inputs["data"]
    y, x = np.arange(height)[:, None] / height, np.arange(width) / width
    waves = [np.sin(7 * (c + 1) * x + 3 * y) + np.cos(11 * y * x * (c + 1)) for c in range(channels)]
    noise = np.random.default_rng(7).uniform(-16, 16, (n, channels, height, width))
    return (50 * np.array(waves) + noise).astype(np.float32)


def random_weights(graph: Graph, image: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Weights that keep the values of every blob near 1, so that the predictions tell the boxes apart.

    Convolutions are drawn after He et al. (2015), those that read the image 64 times smaller. Each BatchNorm divides
    by what the image gives there.
    """
    rng = np.random.default_rng(3)

    def draw(layer, i, shape):
        if layer.type in ("Convolution", "Deconvolution", "InnerProduct") and i == 0:
            of_image = 64 if layer.bottoms == ("data",) else 1
            return rng.standard_normal(shape, np.float32) * np.sqrt(2 / prod(shape[1:])) / of_image
        if layer.type == "Normalize":
            return rng.uniform(9, 11, shape)
        return rng.uniform(0.8, 1.2, shape) if (layer.type, i) in POSITIVE else rng.uniform(-0.1, 0.1, shape)

    POSITIVE = {("BatchNorm", 1), ("BatchNorm", 2), ("Scale", 0)}
    drawn = {n.name: [draw(n, i, s).astype(np.float32) for i, s in enumerate(n.blob_shapes)] for n in graph.layers}
    net = CaffeNet(graph, {name: blobs for name, blobs in drawn.items() if blobs})
    for module in net.modules():
        if hasattr(module, "variance_sum"):
            module.register_forward_pre_hook(fit_variance)
    with torch.no_grad():
        net({"data": torch.from_numpy(image)})
    return net.weights()


def fit_variance(norm, bottoms) -> None:
    norm.variance_sum.mul_(bottoms[0].square().mean())


def as_importers_read(net) -> None:
    """Change the net so that the importers read it as Caffe does: whole sizes (Caffe cuts them), no `top_k`."""
    for layer in net.layer:
        for sizes in (layer.prior_box_param.min_size, layer.prior_box_param.max_size):
            sizes[:] = [int(size) for size in sizes]
        if layer.type == "DetectionOutput":
            layer.detection_output_param.nms_param.top_k = -1


def compare(folder: Path, name: str, backends=tuple(BACKENDS), change=lambda net: None, batch=1) -> Comparison:
    """The differences of a model's deploy net, after `change`, among some of the backends."""
    net = replace(build(name), deploy_batch=batch).net("deploy")
    change(net)
    graph = Graph(net_file(net))
    image = image_of(graph)
    files = folder / "deploy.prototxt", folder / "deploy.caffemodel"
    write_text(net, files[0])
    write_weights(files[1], graph, random_weights(graph, image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_module, "BACKENDS", {backend: BACKENDS[backend] for backend in backends})
        found = verify(*files, [{"data": image}])
    files[1].unlink()
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """model -> the Comparison of its deploy net as it is, made once."""
    made: dict[str, Comparison] = {}

    def of(name: str) -> Comparison:
        if name not in made:
            made[name] = compare(tmp_path_factory.mktemp("zoo"), name)
        return made[name]

    return of


def differences(found: Comparison, backend: str) -> dict[str, float]:
    if backend in found.skipped:
        pytest.skip(found.skipped[backend])
    return {d.blob: d.largest for d in found.differences if d.backend == backend}


@pytest.mark.parametrize("model", EACH_MODEL)
def test_onnx_runtime(model, compared):
    """Predictions and detections; the conversion itself runs onnx.checker with shape inference."""
    found = compared(model)
    assert "ONNX Runtime" not in found.skipped
    apart = differences(found, "ONNX Runtime")
    predictions = {"odm_loc", "arm_loc"} if model.startswith("refinedet") else {"mbox_loc"}
    assert predictions | {"detection_out"} <= apart.keys()
    assert max(apart.values()) < TOLERANCE
    (detections,) = (d for d in found.differences if (d.backend, d.blob) == ("ONNX Runtime", "detection_out"))
    assert detections.compared > 50 and detections.unpaired == 0


@pytest.mark.parametrize("backend", ["OpenCV", "MNN"])
@pytest.mark.parametrize("model", EACH_MODEL)
def test_importer(model, backend, compared):
    """What the importers read as Caffe does is the same there; what not, is known, with its reason."""
    found = compared(model)
    if reason := UNREAD.get((model, backend)):
        if "is not installed" not in found.skipped[backend]:
            assert f"cannot import the net: {reason}" in found.skipped[backend]
        return
    apart = differences(found, backend)
    misread = {blob: reason for (blob, of), reason in found.misread.items() if of == backend}
    assert max(value for blob, value in apart.items() if blob not in misread) < TOLERANCE
    if reason := MISREAD.get((model, backend)):
        assert apart["detection_out"] > TOLERANCE and reason in misread["detection_out"]
    elif backend == "OpenCV":
        assert not misread
    else:
        assert set(misread) == {"detection_out"} and "heeds no top_k" in misread["detection_out"]


@pytest.mark.parametrize("model", EACH_MODEL)
def test_importers_when_the_net_is_said_their_way(model, tmp_path):
    found = compare(tmp_path, model, ("PyTorch", "OpenCV", "MNN"), as_importers_read)
    left_out = {"OpenCV"} if model.startswith("refinedet") else set()
    assert found.misread.keys() == {("detection_out", backend) for backend in left_out}
    backends = found.seconds.keys() - left_out - {"PyTorch"}
    if not backends:
        pytest.skip(found.skipped["MNN"])
    apart = {(d.backend, d.blob): d.largest for d in found.differences if d.backend in backends}
    assert max(apart.values()) < TOLERANCE
    assert {backend for backend, blob in apart if blob == "detection_out"} == backends


@pytest.mark.parametrize("model", ["mobilenet-ssd300", "grp-dsod320", "refinedet320-vgg16"])
def test_batch(model, tmp_path):
    """What `netgen build --batch 2` writes: the detections of two images at once."""
    found = compare(tmp_path, model, ("PyTorch", "ONNX Runtime"), batch=2)
    assert max(d.largest for d in found.differences) < TOLERANCE
    (detections,) = (d for d in found.differences if d.blob == "detection_out")
    assert detections.compared > 100 and detections.unpaired == 0
