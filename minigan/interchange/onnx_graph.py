"""A network as an ONNX graph in inference mode: float32, any batch size, images as (N, C, H, W).

Within the graph images are channels first, as ONNX's operators want them, and vectors are in
minigan's order: a Transpose stands wherever one becomes the other, and the weights of dense layers
go in as they are.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigan import __version__, nn
from minigan.backend import to_host
from minigan.errors import UserError
from minigan.interchange.steps import Reading, Step, Untranslatable, channels_first, steps
from minigan.nn.params import Params
from minigan.typing import Shape

OPSET = 17
IR_VERSION = 8  # the oldest that has this opset, so that older runtimes can read the file


def onnx_bytes(
    net: nn.Layer,
    theta: Params,
    *,
    image_in: Shape | None = None,
    image_out: Shape | None = None,
    names: tuple[str, str] = ("input", "output"),
    condition: str = "",
    facts: dict[str, str] | None = None,
) -> bytes:
    """The file of a network, checked by onnx.checker.

    `image_in` and `image_out` are the shapes (H, W, C) of what a network takes or makes as flat
    images; `names` those of input and output; `condition` that of another input, (N, K), for a network that takes it
    behind its first one: what it passes on is left out of the output. `facts` become the model's metadata.
    Raises Untranslatable, naming the layer, for one that ONNX cannot express.
    """
    onnx = _import_onnx()
    row = steps(net, theta.in_shape)
    out_shape = row[-1].out_shape if row else theta.in_shape
    graph = Graph(onnx, theta)
    told, passed_on = (net.condition, isinstance(row[-1].layer, nn.Conditioned)) if condition else (0, False)
    in_shape = (*theta.in_shape[:-1], theta.in_shape[-1] - told)
    x = graph.to_flat(names[0], image_in) if image_in and in_shape == (math.prod(image_in),) else names[0]
    x = graph.joined(x, condition, in_shape) if told else x
    for step in row:
        x = _translate(graph, step, x)
    if passed_on:
        out_shape = (*out_shape[:-1], out_shape[-1] - told)
        x = graph.channels(x, 0, out_shape[-1])
    if image_out and out_shape == (math.prod(image_out),):
        x = graph.from_flat(x, image_out)
    graph.nodes.append(onnx.helper.make_node("Identity", [x], [names[1]]))

    def end(name: str, shape: Shape, image: Shape | None = None) -> Any:
        shown = image if image and shape == (math.prod(image),) else shape
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *channels_first(shown)])

    inputs = [end(names[0], in_shape, image_in)] + ([end(condition, (told,))] if told else [])
    outputs = [end(names[1], out_shape, image_out)]
    made = onnx.helper.make_graph(graph.nodes, "minigan", inputs, outputs, graph.constants)
    model = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="minigan", producer_version=__version__,
    )  # fmt: skip
    onnx.helper.set_model_props(model, facts or {})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as err:
        raise UserError("the format onnx needs the package onnx: pip install '.[export]'") from err
    return onnx


class Graph:
    """Nodes and constants under construction; values are known by their names."""

    def __init__(self, onnx: Any, theta: Params) -> None:
        self.onnx, self.theta = onnx, theta
        self.read: list[str] = []  # the conditions, (N, K), of the Conditioned that the present layer is in
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator; returns the name of its output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: type = np.float32, name: str = "") -> str:
        """Store an array; returns its name."""
        name = name or f"constant_{len(self.constants)}"
        array: np.ndarray = np.array(values, dtype, order="C")
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def weight(self, step: Step, key: str, axes: tuple[int, ...] | None = None) -> str:
        """Store a parameter of a layer, with its axes permuted."""
        array = to_host(self.theta[f"{step.name}.{key}"])
        return self.constant(array if axes is None else array.transpose(axes), name=f"{step.name}.{key}")

    def bias(self, step: Step) -> list[str]:
        """The layer's bias, if it has one."""
        return [self.weight(step, "b")] if "b" in step.layer.param_shapes(step.in_shape) else []

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        """(N, ...) to (N, *shape)."""
        return self.add("Reshape", x, self.constant((-1, *shape), np.int64))

    def channels(self, x: str, start: int, stop: int) -> str:
        """Channels start to stop of (N, C, ...)."""
        return self.add("Slice", x, *(self.constant([number], np.int64) for number in (start, stop, 1)))

    def joined(self, x: str, y: str, shape: Shape) -> str:
        """y (N, K) behind the channels of samples; `shape` is (H, W, C) of an image, (C,) of a vector."""
        if len(shape) > 1:
            places = shape[:-1]
            y = self.add("Unsqueeze", y, self.constant(range(2, 2 + len(places)), np.int64))  # (N, K, 1, 1)
            y = self.add("Expand", y, self.constant((1, 1, *places), np.int64))
        return self.add("Concat", x, y, axis=1)

    def to_flat(self, x: str, shape: Shape) -> str:
        """Samples (C, H, W) to vectors in minigan's order; `shape` is (H, W, C)."""
        if len(shape) == 1:
            return x
        if 1 not in (shape[-1], math.prod(shape[:-1])):  # one channel or one pixel are in order already
            x = self.add("Transpose", x, perm=[0, *range(2, len(shape) + 1), 1])
        return self.reshape(x, (math.prod(shape),))

    def from_flat(self, x: str, shape: Shape) -> str:
        """Vectors in minigan's order to samples (C, H, W); `shape` is (H, W, C)."""
        if len(shape) == 1:
            return x
        if 1 in (shape[-1], math.prod(shape[:-1])):
            return self.reshape(x, channels_first(shape))
        return self.add("Transpose", self.reshape(x, shape), perm=[0, len(shape), *range(1, len(shape))])


def _translate(graph: Graph, step: Step, x: str) -> str:
    kind = type(step.layer)
    if kind is Reading:
        graph.read.append(_condition_of(graph, step, x))
        return x
    for operator in OPERATORS.get(kind, ()):
        x = graph.add(operator, x)
    if kind in TRANSLATIONS:
        x = TRANSLATIONS[kind](graph, step, x)
    elif kind not in OPERATORS:
        raise Untranslatable(f"layer {step.name}: there is no translation of {kind.__name__} to ONNX")
    return x


def _dense(graph: Graph, step: Step, x: str) -> str:
    return graph.add("Gemm", x, graph.weight(step, "w"), *graph.bias(step))  # (N, I) (I, O) + (O,)


def _conv(graph: Graph, step: Step, x: str) -> str:
    layer: nn.Conv2D = step.layer
    w = graph.weight(step, "w", (3, 2, 0, 1))  # (kh, kw, I/g, O) to (O, I/g, kh, kw)
    return graph.add("Conv", x, w, *graph.bias(step), **_window(layer.geometry(step.in_shape[:2]), layer.kernel))


def _conv_transpose(graph: Graph, step: Step, x: str) -> str:
    layer: nn.ConvTranspose2D = step.layer
    w = graph.weight(step, "w", (3, 2, 0, 1))  # (kh, kw, O/g, I) to (I, O/g, kh, kw)
    window = _window(layer.geometry(), layer.kernel) | {"output_padding": nn.pair(layer.output_padding)}
    return graph.add("ConvTranspose", x, w, *graph.bias(step), **window)


def _window(geometry: Any, kernel: Any) -> dict[str, Any]:
    """The attributes that ONNX's convolutions share."""
    return _pool_window(geometry, kernel) | {"dilations": geometry.dilation, "group": geometry.groups}


def _pool_window(geometry: Any, kernel: Any) -> dict[str, Any]:
    top, bottom, left, right = geometry.padding
    return {"kernel_shape": nn.pair(kernel), "strides": geometry.stride, "pads": (top, left, bottom, right)}


def _condition_of(graph: Graph, step: Step, x: str) -> str:
    """(N, K): the last channels at the first place."""
    channels, size = step.in_shape[-1], step.layer.size
    y = graph.channels(x, channels - size, channels)
    if places := len(step.in_shape) - 1:
        ends = (graph.constant([number] * places, np.int64) for number in (0, 1))
        y = graph.add("Slice", y, *ends, graph.constant(range(2, 2 + places), np.int64))
    return graph.reshape(y, (size,))


def _batchnorm(graph: Graph, step: Step, x: str) -> str:
    layer: nn.BatchNorm = step.layer
    if not layer.track_running_stats:
        raise Untranslatable(f"layer {step.name}: ONNX's batch normalisation needs running statistics")
    gain = [graph.weight(step, key) for key in ("gamma", "beta")] if layer.affine else _no_gain(graph, step)
    numbers = gain + [graph.weight(step, key) for key in ("mean", "var")]
    return graph.add("BatchNormalization", x, *numbers, epsilon=layer.eps)


def _no_gain(graph: Graph, step: Step) -> list[str]:
    channels = step.in_shape[-1]
    return [graph.constant([value] * channels) for value in (1, 0)]


def _dropout(graph: Graph, step: Step, x: str) -> str:
    layer: nn.Dropout = step.layer
    return graph.add("Mul", x, graph.constant(1 - layer.rate)) if layer.form == "classic" else x


def _maxout(graph: Graph, step: Step, x: str) -> str:
    layer: nn.Maxout = step.layer
    groups = graph.reshape(x, (*step.out_shape, layer.pieces))  # (N, U, P)
    return graph.add("ReduceMax", groups, axes=[2], keepdims=0)


def _scaled_tanh(graph: Graph, step: Step, x: str) -> str:
    inner = graph.add("Tanh", graph.add("Mul", x, graph.constant(2 / 3, name=f"{step.name}.inside")))
    return graph.add("Mul", inner, graph.constant(1.7159, name=f"{step.name}.outside"))


def _average_pool(graph: Graph, step: Step, x: str) -> str:
    layer: nn.AveragePool = step.layer
    window = _pool_window(layer.geometry(step.in_shape[:2]), layer.kernel)
    return graph.add("AveragePool", x, count_include_pad=1, **window)


def _max_pool(graph: Graph, step: Step, x: str) -> str:
    layer: nn.MaxPool = step.layer
    return graph.add("MaxPool", x, **_pool_window(layer.geometry(step.in_shape[:2]), layer.kernel))


def _upsample(graph: Graph, step: Step, x: str) -> str:
    layer: nn.Upsample = step.layer
    rule: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if layer.mode == "nearest":
        rule = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", x, "", graph.constant((1, 1, layer.factor, layer.factor)), **rule)


def _pixel_unshuffle(graph: Graph, step: Step, x: str) -> str:
    layer: nn.PixelUnshuffle = step.layer
    # SpaceToDepth has another order of the channels; PixelShuffle's is DepthToSpace's CRD: c r^2 + i r + j.
    (height, width, channels), r = step.in_shape, layer.factor
    blocks = graph.reshape(x, (channels, height // r, r, width // r, r))  # (N, C, H, r, W, r)
    return graph.reshape(graph.add("Transpose", blocks, perm=[0, 1, 3, 5, 2, 4]), channels_first(step.out_shape))


def _reshape(graph: Graph, step: Step, x: str) -> str:
    return graph.from_flat(graph.to_flat(x, step.in_shape), step.out_shape)


# Layers that are operators without settings, one after the other.
OPERATORS: dict[type, tuple[str, ...]] = {
    nn.GlobalAveragePool: ("GlobalAveragePool", "Flatten"),
    nn.ReLU: ("Relu",),
    nn.Sigmoid: ("Sigmoid",),
    nn.Softplus: ("Softplus",),
    nn.Tanh: ("Tanh",),
}
TRANSLATIONS: dict[type, Callable[[Graph, Step, str], str]] = {
    nn.AveragePool: _average_pool,
    nn.BatchNorm: _batchnorm,
    nn.Conditioned: lambda graph, step, x: graph.joined(x, graph.read.pop(), step.in_shape),
    nn.Conv2D: _conv,
    nn.ConvTranspose2D: _conv_transpose,
    nn.Dense: _dense,
    nn.Dropout: _dropout,
    nn.ELU: lambda graph, step, x: graph.add("Elu", x, alpha=step.layer.alpha),
    nn.Flatten: _reshape,
    nn.LeakyReLU: lambda graph, step, x: graph.add("LeakyRelu", x, alpha=step.layer.slope),
    nn.MaxPool: _max_pool,
    nn.Maxout: _maxout,
    nn.PixelShuffle: lambda graph, step, x: graph.add("DepthToSpace", x, blocksize=step.layer.factor, mode="CRD"),
    nn.PixelUnshuffle: _pixel_unshuffle,
    nn.Reshape: _reshape,
    nn.ScaledTanh: _scaled_tanh,
    nn.Upsample: _upsample,
}
