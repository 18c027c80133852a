"""Each layer as the modules of torch.nn that do the same in inference, channels first."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minigan import nn
from minigan.interchange.steps import Reading, Step, Untranslatable, channels_first
from minigan.ops import Geometry


@dataclass(frozen=True)
class Module:
    """``torch.nn.<kind>(**arguments)``; `path` is its number among the modules of one layer, "" if it is alone."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    path: str = ""


def modules_of(step: Step) -> list[Module]:
    """The modules of one layer. Raises Untranslatable, naming it, if there are none."""
    kind = type(step.layer)
    if kind is Reading:
        return []
    if kind not in FIXED.keys() | TRANSLATIONS.keys():
        raise Untranslatable(f"layer {step.name}: torch.nn has no module that does the same as {kind.__name__}")
    made = FIXED[kind] if kind in FIXED else TRANSLATIONS[kind](step)
    if len(made) == 1:
        return made
    return [Module(module.kind, module.arguments, str(index)) for index, module in enumerate(made)]


def _dense(step: Step) -> list[Module]:
    layer: nn.Dense = step.layer
    sizes = {"in_features": step.in_shape[0], "out_features": layer.units}
    return [Module("Linear", sizes | {"bias": layer.bias})]


def _conv(step: Step) -> list[Module]:
    layer: nn.Conv2D = step.layer
    geometry = layer.geometry(step.in_shape[:2])
    padding, before = _padding(geometry)
    arguments = {
        "in_channels": step.in_shape[2], "out_channels": layer.channels, "kernel_size": nn.pair(layer.kernel),
        "stride": geometry.stride, "padding": padding, "dilation": geometry.dilation, "groups": layer.groups,
        "bias": layer.bias,
    }  # fmt: skip
    return [*before, Module("Conv2d", arguments)]


def _conv_transpose(step: Step) -> list[Module]:
    layer: nn.ConvTranspose2D = step.layer
    geometry = layer.geometry()
    padding, cut = _padding(geometry, sign=-1)  # padding of the convolution is what its transpose cuts off
    arguments = {
        "in_channels": step.in_shape[2], "out_channels": layer.channels, "kernel_size": nn.pair(layer.kernel),
        "stride": geometry.stride, "padding": padding, "output_padding": nn.pair(layer.output_padding),
        "groups": layer.groups, "bias": layer.bias, "dilation": geometry.dilation,
    }  # fmt: skip
    return [Module("ConvTranspose2d", arguments), *cut]


def _padding(geometry: Geometry, sign: int = 1, border: float = 0.0) -> tuple[tuple[int, int], list[Module]]:
    """(vertical, horizontal) as PyTorch takes it, or (0, 0) and a module of its own if the sides differ."""
    top, bottom, left, right = geometry.padding
    if (top, left) == (bottom, right):
        return (top, left), []
    sides = tuple(sign * side for side in (left, right, top, bottom))
    return (0, 0), [Module("ConstantPad2d", {"padding": sides, "value": border})]


def _batchnorm(step: Step) -> list[Module]:
    layer: nn.BatchNorm = step.layer
    if len(step.in_shape) > 3:
        raise Untranslatable(f"layer {step.name}: samples of shape {step.in_shape} are neither vectors nor images")
    kind = "BatchNorm2d" if len(step.in_shape) == 3 else "BatchNorm1d"
    settings: dict[str, Any] = {"num_features": step.in_shape[-1], "eps": layer.eps, "momentum": layer.momentum}
    others = {"affine": layer.affine, "track_running_stats": layer.track_running_stats}
    return [Module(kind, settings | {name: value for name, value in others.items() if not value})]


def _conditioned(step: Step) -> list[Module]:
    return [Module("Conditioned", {"size": step.layer.size})]  # not torch.nn's: the document defines it


def _dropout(step: Step) -> list[Module]:
    layer: nn.Dropout = step.layer
    if layer.form == "classic" and layer.rate:
        raise Untranslatable(f"layer {step.name}: PyTorch's dropout scales in training, not at use as form='classic'")
    by_rank = {2: "Dropout1d", 3: "Dropout2d", 4: "Dropout3d"} if layer.form == "channel" else {}
    return [Module(by_rank.get(len(step.in_shape), "Dropout"), {"p": layer.rate})]


def _maxout(step: Step) -> list[Module]:
    return [Module("MaxPool1d", {"kernel_size": step.layer.pieces})]  # which takes (N, features) for an image (C, L)


def _average_pool(step: Step) -> list[Module]:
    return _pool("AvgPool2d", step, 0.0)


def _max_pool(step: Step) -> list[Module]:
    return _pool("MaxPool2d", step, float("-inf"))


def _pool(kind: str, step: Step, border: float) -> list[Module]:
    layer: nn.AveragePool | nn.MaxPool = step.layer
    kernel, geometry = nn.pair(layer.kernel), layer.geometry(step.in_shape[:2])
    padding, before = _padding(geometry, border=border)
    if any(2 * side > k for side, k in zip(padding, kernel, strict=True)):  # PyTorch refuses this in the pool
        sides = (padding[1], padding[1], padding[0], padding[0])
        padding, before = (0, 0), [Module("ConstantPad2d", {"padding": sides, "value": border})]
    return [*before, Module(kind, {"kernel_size": kernel, "stride": geometry.stride, "padding": padding})]


def _upsample(step: Step) -> list[Module]:
    return [Module("Upsample", {"scale_factor": step.layer.factor, "mode": step.layer.mode})]


def _reshape(step: Step) -> list[Module]:
    if len(step.out_shape) < 2:
        return [Module("Flatten")]
    flat = [Module("Flatten")] if len(step.in_shape) > 1 else []
    return [*flat, unflatten(step.out_shape)]


def unflatten(shape: tuple[int, ...]) -> Module:
    """The module that makes images (N, C, H, W) of vectors; `shape` is (H, W, C)."""
    return Module("Unflatten", {"dim": 1, "unflattened_size": channels_first(shape)})


# Layers that are the same modules whatever their settings; ScaledTanh is missing here and below.
FIXED: dict[type, list[Module]] = {
    nn.GlobalAveragePool: [Module("AdaptiveAvgPool2d", {"output_size": 1}), Module("Flatten")],
    nn.ReLU: [Module("ReLU")],
    nn.Sigmoid: [Module("Sigmoid")],
    nn.Softplus: [Module("Softplus")],
    nn.Tanh: [Module("Tanh")],
}
TRANSLATIONS: dict[type, Callable[[Step], list[Module]]] = {
    nn.AveragePool: _average_pool,
    nn.BatchNorm: _batchnorm,
    nn.Conditioned: _conditioned,
    nn.Conv2D: _conv,
    nn.ConvTranspose2D: _conv_transpose,
    nn.Dense: _dense,
    nn.Dropout: _dropout,
    nn.ELU: lambda step: [Module("ELU", {"alpha": step.layer.alpha})],
    nn.Flatten: _reshape,
    nn.LeakyReLU: lambda step: [Module("LeakyReLU", {"negative_slope": step.layer.slope})],
    nn.MaxPool: _max_pool,
    nn.Maxout: _maxout,
    nn.PixelShuffle: lambda step: [Module("PixelShuffle", {"upscale_factor": step.layer.factor})],
    nn.PixelUnshuffle: lambda step: [Module("PixelUnshuffle", {"downscale_factor": step.layer.factor})],
    nn.Reshape: _reshape,
    nn.Upsample: _upsample,
}
