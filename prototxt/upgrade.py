"""Nets and solvers of older Caffes, rewritten into today's schema as Caffe itself does when it reads them.

Three generations: V0 (`layers { layer { type: "conv" … } }`), V1 (`layers { type: CONVOLUTION … }`)
and today's `layer { type: "Convolution" … }`. Source: UpgradeNetAsNeeded of Caffe. Where Caffe logs
a warning and drops a field, this module refuses the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prototxt import schema
from prototxt.errors import UserError, nearest
from prototxt.text import Path

Where = Callable[..., str]

# V0 type: (today's type, sub-message of its parameters, V0 fields that go there).
_V0_TYPES = {
    "accuracy": ("Accuracy", "", ""),
    "bnll": ("BNLL", "", ""),
    "concat": ("Concat", "concat_param", "concat_dim"),
    "conv": (
        "Convolution",
        "convolution_param",
        "num_output biasterm weight_filler bias_filler pad kernelsize group stride",
    ),
    "data": ("Data", "data_param", "source batchsize rand_skip"),
    "dropout": ("Dropout", "dropout_param", "dropout_ratio"),
    "euclidean_loss": ("EuclideanLoss", "", ""),
    "flatten": ("Flatten", "", ""),
    "hdf5_data": ("HDF5Data", "hdf5_data_param", "source batchsize"),
    "hdf5_output": ("HDF5Output", "", "hdf5_output_param"),
    "im2col": ("Im2col", "", ""),
    "images": (
        "ImageData",
        "image_data_param",
        "source batchsize rand_skip shuffle_images new_height new_width",
    ),
    "infogain_loss": ("InfogainLoss", "infogain_loss_param", "source"),
    "innerproduct": ("InnerProduct", "inner_product_param", "num_output biasterm weight_filler bias_filler"),
    "lrn": ("LRN", "lrn_param", "local_size alpha beta k"),
    "multinomial_logistic_loss": ("MultinomialLogisticLoss", "", ""),
    "pool": ("Pooling", "pooling_param", "pad kernelsize stride pool"),
    "relu": ("ReLU", "", ""),
    "sigmoid": ("Sigmoid", "", ""),
    "softmax": ("Softmax", "", ""),
    "softmax_loss": ("SoftmaxWithLoss", "", ""),
    "split": ("Split", "", ""),
    "tanh": ("TanH", "", ""),
    "window_data": (
        "WindowData",
        "window_data_param",
        "source batchsize det_fg_threshold det_bg_threshold det_fg_fraction det_context_pad det_crop_mode",
    ),
}
_V0_RENAMED = {
    "batchsize": "batch_size",
    "biasterm": "bias_term",
    "kernelsize": "kernel_size",
    "shuffle_images": "shuffle",
}
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}

# V1 types whose name today is not the V1 name with capitals for its words.
_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
# V1 lists with one value a blob, and the field of ParamSpec that has it today.
_V1_PARAM_SPECS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}

_DATA_PARAMS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
_MOST_LAYERS = 10_000  # three times ResNet-1001; what looks at pairs of layers stays fast
_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


def upgrade_net(net: Any, where: Where = lambda *path: "<net>") -> list[Path]:
    """Rewrite a NetParameter of any generation in place; weights in it are carried over.

    Args:
        net: the net, as its file gave it.
        where: gives `FILE:LINE` of a path in the file (`Parsed.where`).

    Returns:
        For each layer of the upgraded net, its path in the file: `("layer", 3)`, `("layers", 3)` for
        a V0 or V1 layer, `("input", 0)` for the Input layer that stands for old input fields.

    Raises:
        UserError: `layer` and `layers` in one file, a V0 layer of an unknown type or with a field that
            its type does not have, a padding layer that cannot be folded, inputs without their shapes.
    """
    if max(len(net.layer), len(net.layers)) > _MOST_LAYERS:
        found = f"the net has {max(len(net.layer), len(net.layers)):,} layers"
        raise UserError(found, where=where(), expected=f"at most {_MOST_LAYERS:,}")
    origins: list[Path] = [("layer", i) for i in range(len(net.layer))]
    if net.layers:
        if net.layer:
            raise UserError(
                "the net has both `layer` and old `layers`",
                where=where("layers", 0),
                fix="keep one of the two generations; Caffe drops every `layer` of such a file",
            )
        origins = _upgrade_layers(net, where)
    if net.input:
        origins = _upgrade_input(net, where) + origins
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:  # running sums are not learned, whatever an old file says
                spec.lr_mult = spec.decay_mult = 0
    return origins


def upgrade_solver(solver: Any, where: Where = lambda *path: "<solver>") -> None:
    """Rewrite the old `solver_type` enum of a SolverParameter as the `type` string, in place.

    Raises:
        UserError: both are given.
    """
    if not solver.HasField("solver_type"):
        return
    if solver.HasField("type"):
        raise UserError("both type and the old solver_type are given", where=where("solver_type"), fix="keep type")
    solver.type = _SOLVER_TYPES[schema.SolverParameter.SolverType.Name(solver.solver_type)]
    solver.ClearField("solver_type")


def _upgrade_layers(net: Any, where: Where) -> list[Path]:
    origins: list[Path] = [("layers", i) for i in range(len(net.layers))]
    is_v0 = any(old.HasField("layer") for old in net.layers)
    if is_v0:
        _fold_padding(net.layers, where)
        origins = [path for path, old in zip(origins, net.layers) if old.layer.type != "padding"]
    for path in origins:
        old = net.layers[path[1]]
        if is_v0:
            _from_v0(old, net.layer.add(), where(*path))
        else:
            _from_v1(old, net.layer.add())
    net.ClearField("layers")
    return origins


def _fold_padding(layers: Any, where: Where) -> None:
    """Give each V0 conv or pool that reads a padding layer its pad, and the padding layer's bottom."""
    paddings: dict[str, Any] = {}
    for i, old in enumerate(layers):
        for j, name in enumerate(old.bottom):
            padding = paddings.get(name)
            if padding is None:
                continue
            if old.layer.type not in ("conv", "pool") or len(old.bottom) != 1:
                raise UserError(
                    f'layer "{old.layer.name}" ({old.layer.type}) reads the padding layer "{padding.layer.name}"',
                    where=where("layers", i),
                    expected="a conv or pool layer with one bottom",
                )
            if len(padding.bottom) != 1 or len(padding.top) != 1:
                raise UserError(
                    f'padding layer "{padding.layer.name}" has {len(padding.bottom)} bottoms and '
                    f"{len(padding.top)} tops",
                    where=where("layers", i),
                    expected="one of each",
                )
            old.layer.pad = padding.layer.pad
            old.bottom[j] = padding.bottom[0]
        for name in old.top:
            paddings.pop(name, None)
            if old.layer.type == "padding":
                paddings[name] = old


def _from_v0(old: Any, layer: Any, where: str) -> None:
    v0 = old.layer
    extra = [field.name for field, _ in old.ListFields() if field.name not in ("layer", "bottom", "top")]
    if not old.HasField("layer") or extra:
        raise UserError(
            f'layer "{v0.name or old.name}" has {extra[0] if extra else "no inner layer"} in a net of V0 layers',
            where=where,
            expected="bottom, top and layer alone",
        )
    if v0.type not in _V0_TYPES:
        raise UserError(
            f'layer "{v0.name}": the V0 type "{v0.type}" is not known{nearest(v0.type, _V0_TYPES)}', where=where
        )
    layer.type, parameters, allowed = _V0_TYPES[v0.type]
    layer.bottom.extend(old.bottom)
    layer.top.extend(old.top)
    for field, value in v0.ListFields():
        name = field.name
        if name in ("name", "blobs"):
            _set(layer, name, value)
        elif name in _V1_PARAM_SPECS:
            _set_specs(layer, _V1_PARAM_SPECS[name], value)
        elif name in _V0_TRANSFORM:
            _set(layer.transform_param, _V0_TRANSFORM[name], value)
        elif name in allowed.split():
            target = getattr(layer, parameters) if parameters else layer
            _set(target, _V0_RENAMED.get(name, name.removeprefix("det_")), value)
        elif name != "type":
            raise UserError(f'layer "{v0.name}": a V0 layer of type "{v0.type}" has no {name}', where=where)


def _from_v1(old: Any, layer: Any) -> None:
    for field, value in old.ListFields():
        if field.name == "type":
            name = schema.V1LayerParameter.LayerType.Name(value)
            layer.type = _V1_TYPES.get(name, "".join(word.capitalize() for word in name.split("_")))
        elif field.name in _V1_PARAM_SPECS:
            _set_specs(layer, _V1_PARAM_SPECS[field.name], value)
        else:
            _set(layer, field.name, value)
    if layer.type in _DATA_PARAMS:
        data = getattr(layer, _DATA_PARAMS[layer.type])
        for name in _V0_TRANSFORM.values():
            if data.HasField(name):
                setattr(layer.transform_param, name, getattr(data, name))
                data.ClearField(name)


def _set_specs(layer: Any, name: str, values: Any) -> None:
    while len(layer.param) < len(values):
        layer.param.add()
    for spec, value in zip(layer.param, values):
        setattr(spec, name, value)


def _set(message: Any, name: str, value: Any) -> None:
    """Set a field of any kind; a single value for a repeated field becomes its first."""
    present = getattr(message, name)
    if hasattr(present, "extend"):
        present.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(present, "CopyFrom"):
        present.CopyFrom(value)
    else:
        setattr(message, name, value)


def _upgrade_input(net: Any, where: Where) -> list[Path]:
    """Make an Input layer of `input` with `input_shape` or `input_dim`; a file of weights just loses them."""
    inputs, shapes, dims = list(net.input), [list(s.dim) for s in net.input_shape], list(net.input_dim)
    origins: list[Path] = []
    if shapes and dims:
        raise UserError("both input_shape and input_dim are given", where=where("input", 0), fix="keep input_shape")
    if dims and len(dims) != 4 * len(inputs):
        raise UserError(
            f"{len(dims)} input_dim for {len(inputs)} inputs", where=where("input", 0), expected="four for each"
        )
    shapes = shapes or [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if shapes:
        if len(shapes) != len(inputs):
            raise UserError(
                f"{len(shapes)} input_shape for {len(inputs)} inputs", where=where("input", 0), expected="one for each"
            )
        layer = schema.LayerParameter(name="input", type="Input", top=inputs)
        for shape in shapes:
            layer.input_param.shape.add(dim=shape)
        net.layer.insert(0, layer)
        origins = [("input", 0)]
    elif not any(layer.blobs for layer in net.layer):
        raise UserError(
            f'input "{inputs[0]}" has no shape',
            where=where("input", 0),
            fix="add `input_shape { dim: … }` below it",
        )
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)
    return origins
