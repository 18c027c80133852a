"""Every operation in PyTorch, float64, with gradients from autograd.

Each twin takes the inputs, parameters and the upstream gradient dy as NumPy arrays and returns its
results by name: "y" or "loss", and "d" + the name of each differentiated input. PyTorch's own layers
and losses are used wherever there is one, so that a twin shares neither code nor formula with minigan.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reference import Array

Results: TypeAlias = dict[str, Array]


def with_gradients(function: Callable[..., Tensor], inputs: dict[str, Array], dy: Array) -> Results:
    """y = function(*inputs), and the gradients of <y, dy> with respect to every input."""
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in inputs.items()}
    y = function(*leaves.values())
    gradients = torch.autograd.grad(y, list(leaves.values()), torch.tensor(dy))
    results = {"y": y.detach().numpy()}
    for name, gradient in zip(leaves, gradients, strict=True):
        results["d" + name] = gradient.numpy()
    return results


def loss_with_gradients(function: Callable[..., Tensor], **inputs: Array) -> Results:
    """The same for a loss: a scalar, whose upstream gradient is 1."""
    results = with_gradients(function, inputs, np.ones(()))
    return {"loss": results.pop("y"), **results}


# Layers ------------------------------------------------------------------------------------------


def dense(x: Array, w: Array, dy: Array, b: Array | None = None) -> Results:
    """PyTorch's weights are (O, I)."""
    inputs = {"x": x, "w": w} if b is None else {"x": x, "w": w, "b": b}
    return with_gradients(lambda x, w, b=None: F.linear(x, w.T, b), inputs, dy)


def channels_first(x: Tensor) -> Tensor:
    """N ... C to N C ...: PyTorch normalises axis 1."""
    return x.movedim(-1, 1)


def batchnorm(x: Array, gamma: Array, beta: Array, eps: float, dy: Array) -> Results:
    """Training form: batch statistics."""

    def function(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y = F.batch_norm(channels_first(x), None, None, gamma, beta, training=True, eps=eps)
        return y.movedim(1, -1)

    return with_gradients(function, {"x": x, "gamma": gamma, "beta": beta}, dy)


def batchnorm_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, dy: Array) -> Results:
    """Running statistics, which are constants."""

    def function(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y = F.batch_norm(channels_first(x), torch.tensor(mean), torch.tensor(var), gamma, beta, eps=eps)
        return y.movedim(1, -1)

    return with_gradients(function, {"x": x, "gamma": gamma, "beta": beta}, dy)


def running_statistics(x: Array, mean: Array, var: Array, momentum: float) -> Results:
    """The running mean and variance after one batch, which PyTorch moves in place."""
    new_mean, new_var = torch.tensor(mean), torch.tensor(var)
    F.batch_norm(channels_first(torch.tensor(x)), new_mean, new_var, training=True, momentum=momentum)
    return {"new_mean": new_mean.numpy(), "new_var": new_var.numpy()}


def relu(x: Array, dy: Array) -> Results:
    return with_gradients(F.relu, {"x": x}, dy)


def leaky_relu(x: Array, slope: float, dy: Array) -> Results:
    return with_gradients(lambda x: F.leaky_relu(x, slope), {"x": x}, dy)


def elu(x: Array, alpha: float, dy: Array) -> Results:
    return with_gradients(lambda x: F.elu(x, alpha), {"x": x}, dy)


def softplus(x: Array, dy: Array) -> Results:
    """F.softplus becomes the identity at x = 20 and is wrong by 2e-9 there: log(e^x + e^0) is exact."""
    return with_gradients(lambda x: torch.logaddexp(x, torch.zeros_like(x)), {"x": x}, dy)


def sigmoid(x: Array, dy: Array) -> Results:
    return with_gradients(torch.sigmoid, {"x": x}, dy)


def tanh(x: Array, dy: Array) -> Results:
    return with_gradients(torch.tanh, {"x": x}, dy)


def scaled_tanh(x: Array, dy: Array) -> Results:
    return with_gradients(lambda x: 1.7159 * torch.tanh(2 * x / 3), {"x": x}, dy)


def maxout(x: Array, pieces: int, dy: Array) -> Results:
    """One-dimensional max pooling along the features."""
    return with_gradients(lambda x: F.max_pool1d(x[:, None, :], pieces)[:, 0, :], {"x": x}, dy)


def dropout(x: Array, keep: NDArray[np.bool_], scale: float, dy: Array) -> Results:
    return with_gradients(lambda x: scale * x.masked_fill(~torch.tensor(keep), 0.0), {"x": x}, dy)


def reshape(x: Array, shape: NDArray[np.int64], dy: Array) -> Results:
    return with_gradients(lambda x: x.flatten(1).unflatten(1, shape.tolist()), {"x": x}, dy)


# Images, which are N C H W in PyTorch ------------------------------------------------------------


def on_images(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function for images N H W C."""

    def channels_last(x: Tensor, *others: Tensor) -> Tensor:
        return function(x.permute(0, 3, 1, 2).contiguous(), *others).permute(0, 2, 3, 1).contiguous()

    return channels_last


def torch_weights(w: Tensor) -> Tensor:
    """(kh, kw, I/G, O) to (O, I/G, kh, kw); a transposed convolution's (kh, kw, O/G, I) to (I, O/G, kh, kw)."""
    return w.permute(3, 2, 0, 1).contiguous()


def sides(padding: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """PyTorch pads both sides alike: (vertical, horizontal), and the rest as F.pad wants it (l, r, t, b)."""
    top, bottom, left, right = padding.tolist()
    both = [min(top, bottom), min(left, right)]
    return both, [left - both[1], right - both[1], top - both[0], bottom - both[0]]


def conv2d(
    x: Array,
    w: Array,
    stride: NDArray[np.int64],
    padding: NDArray[np.int64],
    dilation: NDArray[np.int64],
    groups: int,
    dy: Array,
) -> Results:
    both, rest = sides(padding)

    def function(x: Tensor, w: Tensor) -> Tensor:
        x = F.pad(x, rest) if any(rest) else x
        return F.conv2d(x, torch_weights(w), None, stride.tolist(), both, dilation.tolist(), groups)

    return with_gradients(on_images(function), {"x": x, "w": w}, dy)


def conv_transpose2d(
    x: Array,
    w: Array,
    stride: NDArray[np.int64],
    padding: NDArray[np.int64],
    output_padding: NDArray[np.int64],
    dilation: NDArray[np.int64],
    groups: int,
    dy: Array,
) -> Results:
    """What PyTorch's padding, alike on both sides, leaves to cut off is cut off afterwards."""
    both, rest = sides(padding)

    def function(x: Tensor, w: Tensor) -> Tensor:
        settings = stride.tolist(), both, output_padding.tolist(), groups, dilation.tolist()
        y = F.conv_transpose2d(x, torch_weights(w), None, *settings)
        return F.pad(y, [-side for side in rest]) if any(rest) else y

    return with_gradients(on_images(function), {"x": x, "w": w}, dy)


def average_pool(
    x: Array, kernel: NDArray[np.int64], stride: NDArray[np.int64], padding: NDArray[np.int64], dy: Array
) -> Results:
    top, bottom, left, right = padding.tolist()

    def function(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, [left, right, top, bottom]), kernel.tolist(), stride.tolist())

    return with_gradients(on_images(function), {"x": x}, dy)


def max_pool(
    x: Array, kernel: NDArray[np.int64], stride: NDArray[np.int64], padding: NDArray[np.int64], dy: Array
) -> Results:
    top, bottom, left, right = padding.tolist()

    def function(x: Tensor) -> Tensor:
        padded = F.pad(x, [left, right, top, bottom], value=-torch.inf)
        return F.max_pool2d(padded, kernel.tolist(), stride.tolist())

    return with_gradients(on_images(function), {"x": x}, dy)


def global_average(x: Array, dy: Array) -> Results:
    def function(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2).contiguous(), 1).flatten(1)

    return with_gradients(function, {"x": x}, dy)


def upsample_nearest(x: Array, factor: int, dy: Array) -> Results:
    return with_gradients(on_images(lambda x: F.interpolate(x, scale_factor=factor, mode="nearest")), {"x": x}, dy)


def upsample_bilinear(x: Array, factor: int, dy: Array) -> Results:
    def function(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

    return with_gradients(on_images(function), {"x": x}, dy)


def pixel_shuffle(x: Array, factor: int, dy: Array) -> Results:
    return with_gradients(on_images(lambda x: F.pixel_shuffle(x, factor)), {"x": x}, dy)


def pixel_unshuffle(x: Array, factor: int, dy: Array) -> Results:
    return with_gradients(on_images(lambda x: F.pixel_unshuffle(x, factor)), {"x": x}, dy)


# Losses ------------------------------------------------------------------------------------------


def bce_with_logits(logits: Array, targets: Array, smoothing: float) -> Results:
    smoothed = torch.tensor((1 - smoothing) * targets + smoothing / 2).expand(logits.shape)
    return loss_with_gradients(lambda logits: F.binary_cross_entropy_with_logits(logits, smoothed), logits=logits)


def softmax_cross_entropy(logits: Array, labels: NDArray[np.int64], smoothing: float) -> Results:
    classes = torch.tensor(labels)
    return loss_with_gradients(
        lambda logits: F.cross_entropy(logits, classes, label_smoothing=smoothing), logits=logits
    )


def mean_squared_error(outputs: Array, targets: Array) -> Results:
    wanted = torch.tensor(targets).expand(outputs.shape)
    return loss_with_gradients(lambda outputs: F.mse_loss(outputs, wanted), outputs=outputs)


def half_squared_error(outputs: Array, targets: Array) -> Results:
    wanted = torch.tensor(targets).expand(outputs.shape)

    def function(outputs: Tensor) -> Tensor:
        return F.mse_loss(outputs, wanted, reduction="sum") / (2 * len(outputs))

    return loss_with_gradients(function, outputs=outputs)


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy with one target for all."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def squares_towards(logits: Tensor, target: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, target))


def discriminator_bce(real: Array, fake: Array, smoothing: float, scale: float) -> Results:
    return loss_with_gradients(
        lambda real, fake: scale * (cross_entropy(real, 1 - smoothing) + cross_entropy(fake, 0.0)), real=real, fake=fake
    )


def generator_minimax(fake: Array) -> Results:
    """log(1 - D) is the log-sigmoid of -f."""
    return loss_with_gradients(lambda fake: F.logsigmoid(-fake).mean(), fake=fake)


def generator_non_saturating(fake: Array) -> Results:
    return loss_with_gradients(lambda fake: cross_entropy(fake, 1.0), fake=fake)


def discriminator_least_squares(real: Array, fake: Array) -> Results:
    return loss_with_gradients(
        lambda real, fake: (squares_towards(real, 1.0) + squares_towards(fake, 0.0)) / 2, real=real, fake=fake
    )


def generator_least_squares(fake: Array) -> Results:
    return loss_with_gradients(lambda fake: squares_towards(fake, 1.0) / 2, fake=fake)


def discriminator_hinge(real: Array, fake: Array) -> Results:
    return loss_with_gradients(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), real=real, fake=fake
    )


def discriminator_wasserstein(real: Array, fake: Array) -> Results:
    return loss_with_gradients(lambda real, fake: fake.mean() - real.mean(), real=real, fake=fake)


def generator_wasserstein(fake: Array) -> Results:
    return loss_with_gradients(lambda fake: -fake.mean(), fake=fake)


# Update rules ------------------------------------------------------------------------------------


def trajectory(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], theta: Array, grads: Array) -> Array:
    """theta after each of the T steps with the given gradients: (T, theta.size)."""
    parameter = torch.nn.Parameter(torch.tensor(theta))
    optimiser = make([parameter])
    positions = []
    for g in grads:
        parameter.grad = torch.tensor(g)
        optimiser.step()
        positions.append(parameter.detach().numpy().copy())
    return np.array(positions)


def sgd(theta: Array, grads: Array, lr: float, momentum: float) -> Results:
    """At a constant learning rate PyTorch's form (lr outside the velocity) gives the same positions."""
    return {"thetas": trajectory(lambda p: torch.optim.SGD(p, lr=lr, momentum=momentum), theta, grads)}


def adam(theta: Array, grads: Array, lr: float, beta1: float, beta2: float, eps: float) -> Results:
    return {"thetas": trajectory(lambda p: torch.optim.Adam(p, lr=lr, betas=(beta1, beta2), eps=eps), theta, grads)}


def rmsprop(theta: Array, grads: Array, lr: float, rho: float, eps: float) -> Results:
    return {"thetas": trajectory(lambda p: torch.optim.RMSprop(p, lr=lr, alpha=rho, eps=eps), theta, grads)}
