"""PyTorch → Caffe by tracing: whole models and single operators, run by CaffeNet and by OpenCV's Caffe importer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.caffemodel import read_weights, write_weights
from converters.files import read_trained
from converters.pytorch import load_net
from converters.pytorch.trace import check_same, to_caffe
from netgen.commands.main import app
from prototxt.errors import UserError
from prototxt.io import write_text


class Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*shortcut) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet18(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for i in range(4):
            first = Residual(widths[i], widths[i + 1], 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, Residual(widths[i + 1], widths[i + 1], 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1)).softmax(1)


class Inverted(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = 4 * inputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(True),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(True),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobile_net() -> nn.Module:
    stem = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()]
    blocks = [Inverted(8, 8, 1), Inverted(8, 16, 2), Inverted(16, 16, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 5))


class UNet(nn.Module):
    """Transposed convolution one way up, nearest neighbours the other; group norms."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = self.block(3, 8), self.block(8, 16), self.block(16, 16)
        self.up2 = nn.ConvTranspose2d(16, 16, 2, 2)
        self.right2, self.right1 = self.block(32, 8), self.block(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.bottom(F.max_pool2d(two, 2))
        two = self.right2(torch.cat([self.up2(low), two], 1))
        return self.head(self.right1(torch.cat([F.interpolate(two, scale_factor=2), one], 1))).sigmoid()


class L2Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x) * self.weight.view(1, -1, 1, 1)


class Ssd(nn.Module):
    """The body of SSD: dilated convolution, L2 norm, predictions of two maps as rows."""

    classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.norm = L2Norm(16)
        self.extra = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(16, 32, 3, padding=6, dilation=6), nn.ReLU())
        self.loc = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(32, 24, 3, padding=1)])
        self.conf = nn.ModuleList([nn.Conv2d(16, 4 * 4, 3, padding=1), nn.Conv2d(32, 6 * 4, 3, padding=1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.body(x)
        maps = [self.norm(low), self.extra(low)]
        rows = []
        for heads in (self.loc, self.conf):
            flat = [head(m).permute(0, 2, 3, 1).contiguous() for head, m in zip(heads, maps)]
            rows.append(torch.cat([one.view(one.size(0), -1) for one in flat], 1))
        return rows[0], rows[1].view(x.size(0), -1, self.classes).softmax(-1)


class Csp(nn.Module):
    """A stage of YOLO: SiLU, a split in two, a bottleneck, spatial pyramid pooling, a decoded output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.m = self.conv(12, 16, 3), self.conv(8, 8, 3)
        self.spp, self.out = self.conv(40, 16, 1), nn.Conv2d(16, 14, 1)

    @staticmethod
    def conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
        layers = [nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)]
        return nn.Sequential(*layers, nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        one, two = self.stem(x).chunk(2, 1)
        two = two + self.m(two)
        pooled = [F.max_pool2d(two, size, 1, size // 2) for size in (3, 5, 7)]
        y = self.out(self.spp(torch.cat([one, two, *pooled], 1)))
        n, _, h, w = y.shape
        y = y.view(n, 2, 7, h, w).permute(0, 1, 3, 4, 2)
        xy, wh, conf = y.sigmoid().split((2, 2, 3), 4)
        return torch.cat([xy * 2 - 0.5, (wh * 2) ** 2, conf], 4).reshape(n, -1, 7)


MODELS = {
    "resnet18": (ResNet18, (1, 3, 64, 48)),
    "mobilenet": (mobile_net, (2, 3, 32, 32)),
    "unet": (UNet, (1, 3, 32, 24)),
    "ssd": (Ssd, (2, 3, 38, 30)),
    "csp": (Csp, (1, 3, 32, 32)),
}


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with weights and statistics as after training, not those of a fresh one."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)) and part.weight is not None:
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(part.bias, 0, 0.2, generator=generator)
    return module


def examples(*shapes: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.fixture(params=list(MODELS))
def model(request):
    build, shape = MODELS[request.param]
    torch.manual_seed(0)
    return lively(build()), examples(shape)


def test_models(model, tmp_path):
    """The traced net gives what the module gives, in OpenCV as well, and the module is as it was."""
    module, inputs = model
    graph, weights = to_caffe(module, inputs)
    assert check_same(module, inputs, graph, weights, "") < 1e-5
    assert module.training and all(part.training for part in module.modules())
    assert [tuple(x.shape) for x in inputs] == list(graph.inputs.values())
    if not any(layer.type == "Reduction" for layer in graph.layers):  # of which a GroupNorm is made; OpenCV has none
        check_in_opencv(module.eval(), inputs, graph, weights, tmp_path)


def check_in_opencv(module, inputs, graph, weights, folder) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV has no Caffe importer")
    write_text(graph.net.message, folder / "net.prototxt")
    write_weights(folder / "net.caffemodel", graph, weights)
    net = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    net.setInput(inputs[0].numpy())
    with torch.no_grad():
        tops = module(*inputs)
    for output, top in zip(graph.outputs, tops if isinstance(tops, tuple) else [tops]):
        maker = next(layer.name for layer in graph.layers if output in layer.tops)
        found, wanted = net.forward(maker), top.numpy()
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=3e-5 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def traced():
    """A module with its traced net."""
    module = lively(ResNet18())
    return module, *to_caffe(module, examples((1, 3, 32, 32)))


def test_layers_are_called_as_modules(traced):
    _, graph, weights = traced
    layers = {layer.name: layer for layer in graph.layers}
    for name, kind in {"conv1": "Convolution", "layer1.0.conv2": "Convolution", "fc": "InnerProduct"}.items():
        assert layers[name].type == kind and layers[name].tops == (name,)
    assert layers["layer2.0.downsample.0"].p.stride_hw == (2, 2)
    assert layers["layer4.1.add"].type == "Eltwise" and graph.outputs == ["softmax"]
    assert list(weights)[:3] == ["conv1", "bn1", "bn1/Scale"]


def test_weights_are_the_modules_bits(traced):
    module, _, weights = traced
    assert weights["layer3.1.conv1"][0].tobytes() == module.layer3[1].conv1.weight.detach().numpy().tobytes()
    mean, variance, factor = weights["bn1"]
    assert mean.tobytes() == module.bn1.running_mean.numpy().tobytes() and factor.tolist() == [1]
    assert variance.tobytes() == module.bn1.running_var.numpy().tobytes()


class Call(nn.Module):
    """A function of its inputs as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor):
        return self.function(*inputs)


S = (2, 4, 9, 7)
FUNCTIONS = {
    "pool_floor": lambda x: F.max_pool2d(x, 2),
    "pool_ceil": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "pool_pad": lambda x: F.max_pool2d(x, 3, 2, 1),
    "pool_oblong": lambda x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0)),
    "pool_empty": lambda x: F.max_pool2d(x, 1, 3),
    "average": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average_inside": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average_ceil": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "average_divisor": lambda x: F.avg_pool2d(x, 3, 2, divisor_override=4),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 7)),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 1),
    "global": lambda x: x.mean((2, 3)),
    "rows": lambda x: x.sum(-1, keepdim=True) + x.amax(1, keepdim=True),
    "every": lambda x: x[:, :, 1::2, ::3],
    "cut": lambda x: x[:, 1:3, 2:, :-1],
    "select": lambda x: x[:, 2] * x.select(3, -1).unsqueeze(-1).mean(1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "pieces": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "unbind": lambda x: torch.stack(x.unbind(1), 1) * 2,
    "fewer": lambda x: x.chunk(4, 1)[2],
    "permute": lambda x: x.permute(0, 3, 1, 2).transpose(1, 2),
    "shuffle": lambda x: x.view(2, 2, 2, 9, 7).transpose(1, 2).reshape(2, 4, 9, 7),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :8, :6], 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest_size": lambda x: F.interpolate(x, size=(13, 10)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "corners": lambda x: F.interpolate(x, size=(17, 5), mode="bilinear", align_corners=True),
    "relu6": F.relu6,
    "hardtanh_plain": F.hardtanh,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
    "clamp": lambda x: x.clamp(min=-0.3).clamp(max=1.5),
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 0.7) + F.selu(x) + F.celu(x, 1.3),
    "silu": F.silu,
    "hardswish": lambda x: F.hardswish(3 * x) + F.hardsigmoid(4 * x),
    "mish": F.mish,
    "softplus": lambda x: F.softplus(3 * x, beta=2),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "softmax": lambda x: x.softmax(1) + x.log_softmax(-1).exp(),
    "powers": lambda x: x.abs().sqrt() + x**2 + (x * x + 1).rsqrt() + 1 / (2 + x.tanh()) - x.square(),
    "logs": lambda x: (x.abs() + 1).log() - x.exp(),
    "scalars": lambda x: 2 - (3 * x - 1) / 4,
    "alpha": lambda x: torch.add(x, x.relu(), alpha=2) - torch.sub(x, x.tanh(), alpha=0.5),
    "squeeze_excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "spatial": lambda x: x * x.mean(1, keepdim=True).sigmoid(),
    "extremes": lambda x: torch.maximum(x, -x) - torch.minimum(x, x * 2),
    "constants": lambda x: x * torch.arange(4.0).view(1, 4, 1, 1) + torch.linspace(0, 1, 7),
    "normalize": lambda x: F.normalize(x),
    "l2": lambda x: x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10),
    "layer_norm": lambda x: F.layer_norm(x, (7,)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "product": lambda x: x @ torch.ones(7, 3) + 1,
    "in_place": lambda x: x.clone().mul_(2).add_(x).relu_(),
    "expand": lambda x: x.mean(3, keepdim=True).expand(-1, -1, -1, 7) - x,
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "same_twice": lambda x: (x.relu(), x.relu()),
    "shared": lambda x: (x * 2, (x * 2).relu()),
    "dictionary": lambda x: {"a": x.relu(), "b": [x.tanh()]},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    module, inputs = Call(FUNCTIONS[name]), examples(S)
    graph, weights = to_caffe(module, inputs)
    assert check_same(module, inputs, graph, weights, "") < 1e-5


LAYERS = {
    "conv": nn.Conv2d(4, 6, (3, 1), (2, 1), (1, 2), (1, 2), 2),
    "conv_same": nn.Conv2d(4, 2, 4, padding="same"),
    "conv_valid": nn.Conv2d(4, 2, 3, padding="valid"),
    "deconv": nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2),
    "deconv_more": nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1),
    "batch_norm_plain": nn.BatchNorm2d(4, affine=False),
    "prelu": nn.PReLU(4, 0.3),
    "prelu_one": nn.PReLU(),
    "linear_of_rows": nn.Linear(7, 3),
    "linear_plain": nn.Sequential(nn.Flatten(), nn.Linear(252, 3, bias=False)),
    "layer_norm": nn.LayerNorm([9, 7]),
    "dropout": nn.Sequential(nn.Dropout2d(0.5), nn.AlphaDropout(0.5), nn.Identity()),
    "twice": nn.Sequential(*[nn.Conv2d(4, 4, 1)] * 2, nn.ReLU()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    torch.manual_seed(0)
    module, inputs = lively(LAYERS[name]), examples(S)
    graph, weights = to_caffe(module, inputs)
    assert check_same(module, inputs, graph, weights, "") < 1e-5


def test_two_inputs_and_a_sequence():
    inputs = examples((2, 3, 8), (2, 3, 8))
    module = Call(lambda a, b: torch.cat([F.conv1d(a, torch.ones(4, 3, 3), padding=1), b], 1).mean(-1))
    graph, weights = to_caffe(module, inputs)
    assert len(graph.inputs) == 2 and check_same(module, inputs, graph, weights, "") < 1e-5


def test_constant_groups_of_a_norm_stay_finite():
    """A group without any spread: what MVN alone would divide by 1e-9."""
    module, x = lively(nn.GroupNorm(2, 4)), torch.full(S, 3.0)
    graph, weights = to_caffe(module, [x])
    assert check_same(module, [x], graph, weights, "") < 1e-4  # one bit of the mean, over the root of eps


class Refuser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.GELU()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU())
        self.pool = nn.MaxPool2d(2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.act(x)).erf()
        return self.pool(y) + F.avg_pool2d(x, 3, 2, 1, divisor_override=3).sort(1)[0][:, :, :4, :3]


def test_all_that_has_no_form_is_named_with_its_module():
    with pytest.raises(UserError) as caught:
        to_caffe(Refuser(), examples(S), "my.py:build")
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        'my.py:build: "act": (gelu) Caffe has no error function; expected nn.GELU(approximate="tanh")',
        'my.py:build: "head.1": (gelu) Caffe has no error function; expected nn.GELU(approximate="tanh")',
        'my.py:build: "avg_pool2d": (avg_pool2d) divisor_override together with padding or ceil_mode',
    ]
    assert any('node "erf" (aten::erf): no Caffe layers compute this operator' in line for line in lines)
    assert any('node "sort" (aten::sort): no Caffe layers compute this operator' in line for line in lines)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: F.max_pool2d(x, 2, return_indices=True)[1].float(), "it reads a second output of an operator"),
        (lambda x: (x, torch.ones(3)), "one of its outputs does not depend on its inputs"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "it pads with reflect; expected zeros"),
        (lambda x: F.pad(x, (1, 1), value=2.0), r"it pads with 2(\.0)?; expected zeros"),
        (lambda x: F.adaptive_avg_pool2d(x, 4), r"from \(9, 7\) to \(4, 4\) its windows differ in size"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), 'it rounds: rounding_mode is "floor"'),
        (lambda x: x @ x.transpose(2, 3), "Caffe has no product of two computed matrices"),
        (lambda x: x.norm(3, 1), "it is the norm of order 3; expected 1 or 2"),
        (lambda x: F.instance_norm(x), "it normalises with the statistics of its input"),
        (lambda x: x if x.sum() > 0 else -x, "the module cannot be traced"),
        (lambda x: x.view(5, 5), r"the module cannot be traced: RuntimeError: shape '\[5, 5\]' is invalid"),
    ],
)  # fmt: skip
def test_refused(function, message):
    with pytest.raises(UserError, match=message):
        to_caffe(Call(function), examples(S))


def test_a_module_that_changes_itself():
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * 2

    with pytest.raises(UserError, match=r'^Counter: "calls": this buffer changes while the module runs$'):
        to_caffe(Counter(), examples(S))


def test_an_input_that_is_no_image():
    with pytest.raises(UserError, match="it is no tensor of floating-point numbers"):
        to_caffe(nn.Embedding(5, 3), [torch.zeros(2, 4, dtype=torch.int64)])


CODE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.bias, 0.5)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.MaxPool2d(2))

def with_example():
    return build(), (torch.ones(1, 3, 7, 6),)

def two():
    return build(), torch.ones(1, 3, 7, 6)

def fails():
    return build()[9]

def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def test_the_command_writes_net_and_weights(folder, capsys):
    app(["convert", "mine.py:build", "-o", "net.prototxt", "--input-shape", "1x3x8x9"], standalone_mode=False)
    out = sorted(capsys.readouterr().out.splitlines())
    assert out[0].startswith("note: the traced net and the module differ by ") and float(out[0].split()[9]) < 1e-6
    assert out[1].startswith("wrote net.prototxt: 8 layers; their weights are in net.caffemodel")
    net = load_net("net.prototxt", "net.caffemodel")
    assert net.graph.inputs == {"input": (1, 3, 8, 9)}
    assert list(read_weights("net.caffemodel")) == ["0", "1", "1/Scale"]


def test_a_module_becomes_everything_else(folder):
    for name in ("net.onnx", "net.safetensors", "net.py"):
        app(["convert", "mine.py:with_example", "-o", name], standalone_mode=False)
        assert Path(name).is_file()
    trained = read_trained("mine.py:two", None)
    assert trained.graph.inputs == {"input": (1, 3, 7, 6)}


def test_a_module_with_its_own_state_dict(folder):
    namespace: dict = {}
    exec(CODE, namespace)
    module = namespace["build"]()
    nn.init.constant_(module[0].weight, 0.25)
    torch.save(module.state_dict(), "mine.pth")
    trained = read_trained("mine.py:build", "mine.pth", [(1, 3, 5, 5)])
    assert (trained.weights["0"][0] == 0.25).all()
    torch.save({"0.weight": torch.ones(1)}, "other.pth")
    with pytest.raises(UserError, match=r"^other.pth: .*Missing key.*0\.bias.*size mismatch for 0\.weight"):
        read_trained("mine.py:build", "other.pth", [(1, 3, 5, 5)])


@pytest.mark.parametrize(
    "place, message",
    [
        ("none.py:build", r"none.py: there is no such Python file; expected FILE.py:FUNCTION"),
        ("mine.py", r"mine.py: there is no such Python file; expected FILE.py:FUNCTION|no function"),
        ("mine.py:biuld", r'mine.py: there is no function "biuld" in it \(did you mean "build"\?\)'),
        ("mine.py:number", r"mine.py:number: number\(\) returns a int; expected a torch.nn.Module"),
        ("mine.py:fails", r"mine.py:18: IndexError: index 9 is out of range"),
        ("mine.py:build", r"mine.py:build: the shapes of the module's inputs are not known\n  fix: give --input-shape"),
        ("broken.py:build", r"broken.py:1: SyntaxError: "),
        ("missing.py:build", r"missing.py:1: ModuleNotFoundError: No module named 'no_such_thing'"),
    ],
)
def test_python_files_that_do_not_give_a_module(folder, place, message):
    Path("broken.py").write_text("def build(:\n")
    Path("missing.py").write_text("import no_such_thing\n")
    with pytest.raises(UserError, match=message):
        read_trained(place, None)


def test_a_module_that_never_gives_the_same_is_refused():
    with pytest.raises(UserError, match=r'"rand": \(rand\) it draws random numbers'):
        to_caffe(Call(lambda x: x + torch.rand(1)), examples(S))


def test_a_traced_net_that_computes_something_else_is_no_result():
    module, inputs = nn.Conv2d(4, 2, 1), examples(S)
    graph, weights = to_caffe(module, inputs)
    weights["conv2d"] = weights.pop(next(iter(weights)))
    nn.init.constant_(module.bias, 9)
    with pytest.raises(UserError, match=r"lies \d.* from what the module gives; expected at most 0.001"):
        check_same(module, inputs, graph, weights, "my.py")
