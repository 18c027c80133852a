"""Wrong gradients, one line each: a checker that cannot fail is no checker.

Each bug replaces a piece of one function's source. The mistakes are those that people make:
a forgotten path, a wrong sign, a missing factor, an overwritten sum.
"""

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minigan import nn
from minigan.functional import activations, batchnorm, dense, dropout, gan_losses, losses, maxout, reshape


@dataclass(frozen=True)
class Bug:
    """In `function`, `right` becomes `wrong`."""

    story: str
    function: Callable
    right: str
    wrong: str


BUGS = [
    # dense
    Bug("dense: dx without the transpose's pairing", dense.dense_input_grad, "w.T", "w.T[:, ::-1]"),
    Bug("dense: dw averaged over the batch", dense.dense_weight_grad, "cache.x.T @ dy", "cache.x.T @ dy / len(dy)"),
    Bug("dense: dw of the first sample only", dense.dense_weight_grad, "cache.x.T @ dy", "cache.x[:1].T @ dy[:1]"),
    Bug("dense: db averaged", dense.dense_bias_grad, "sum(axis=0)", "mean(axis=0)"),
    Bug("dense: db over all outputs", dense.dense_bias_grad, "dy.sum(axis=0)", "dy.sum(axis=0) * 0 + dy.sum()"),
    Bug("dense: sign of dx", dense.dense_input_grad, "dy @", "-dy @"),
    Bug("dense layer overwrites dw", nn.Dense.backward, 'grads["w"] +=', 'grads["w"] ='),
    Bug("dense layer overwrites db", nn.Dense.backward, 'grads["b"] +=', 'grads["b"] ='),
    Bug("dense layer forgets db", nn.Dense.backward, "if self.bias:", "if not self.bias:"),
    # batch normalisation
    Bug("batchnorm: the mean is taken for a constant", batchnorm.batchnorm_backward, "dbeta + cache", "0 * dbeta + cache"),
    Bug("batchnorm: the variance is taken for a constant", batchnorm.batchnorm_backward, "* dgamma)", "* 0 * dgamma)"),
    Bug("batchnorm: statistics divided by R - 1", batchnorm.batchnorm_backward, "/ len(drows)", "/ (len(drows) - 1)"),
    Bug("batchnorm: sign of the variance path", batchnorm.batchnorm_backward, "dbeta + cache", "dbeta - cache"),
    Bug("batchnorm: gamma forgotten in dx", batchnorm.batchnorm_backward, "dx = gamma * cache", "dx = cache"),
    Bug("batchnorm: 1/std forgotten in dx", batchnorm.batchnorm_backward, "gamma * cache.inv_std", "gamma"),
    Bug("batchnorm: 1/std twice", batchnorm.batchnorm_backward, "cache.inv_std", "cache.inv_std**2"),
    Bug("batchnorm: dgamma with y instead of x_hat", batchnorm.batchnorm_backward,
        "(drows * cache.x_hat).sum", "(drows * gamma * cache.x_hat).sum"),
    Bug("batchnorm: dgamma averaged", batchnorm.batchnorm_backward,
        "(drows * cache.x_hat).sum(axis=0)", "(drows * cache.x_hat).mean(axis=0)"),
    Bug("batchnorm: dbeta averaged", batchnorm.batchnorm_backward, "drows.sum(axis=0)", "drows.mean(axis=0)"),
    Bug("batchnorm: R counts samples, not positions", batchnorm.batchnorm_backward, "/ len(drows)", "/ len(dy)"),
    Bug("batchnorm: eps missing from 1/std", batchnorm.batchnorm, "BatchNormCache(x_hat, inv_std",
        "BatchNormCache(x_hat, 1 / xp.sqrt(var)"),
    Bug("batchnorm inference: gamma forgotten", batchnorm.batchnorm_inference_backward, "gamma * cache.inv_std * dy",
        "cache.inv_std * dy"),
    Bug("batchnorm inference: 1/std forgotten", batchnorm.batchnorm_inference_backward, "gamma * cache.inv_std * dy",
        "gamma * dy"),
    Bug("batchnorm inference: dgamma without x_hat", batchnorm.batchnorm_inference_backward,
        "(drows * cache.x_hat).sum(axis=0)", "drows.sum(axis=0)"),
    Bug("batchnorm layer: training rule for inference", nn.BatchNorm.backward, "if trained else", "if not trained else"),
    Bug("batchnorm layer: dgamma and dbeta exchanged", nn.BatchNorm.backward, "dx, dgamma, dbeta", "dx, dbeta, dgamma"),
    Bug("batchnorm layer overwrites dgamma", nn.BatchNorm.backward, 'grads["gamma"] +=', 'grads["gamma"] ='),
    # activations
    Bug("relu: gradient everywhere", activations.relu_backward, "dy * (cache.y > 0)", "dy"),
    Bug("relu: the other half", activations.relu_backward, "> 0", "<= 0"),
    Bug("leaky relu: slope on the wrong side", activations.leaky_relu_backward, "dy, slope * dy", "slope * dy, dy"),
    Bug("leaky relu: slope forgotten", activations.leaky_relu_backward, "slope * dy", "0 * dy"),
    Bug("elu: derivative y instead of y + alpha", activations.elu_backward, "(cache.y + alpha)", "cache.y"),
    Bug("elu: alpha = 1 assumed", activations.elu_backward, "cache.y + alpha", "cache.y + 1"),
    Bug("softplus: derivative exp(-y)", activations.softplus_backward, "-array_module(dy).expm1(-cache.y)",
        "array_module(dy).exp(-cache.y)"),
    Bug("sigmoid: derivative 1 - y", activations.sigmoid_backward, "cache.y * (1 - cache.y)", "(1 - cache.y)"),
    Bug("sigmoid: y taken for x", activations.sigmoid, "ActivationCache(y)", "ActivationCache(x)"),
    Bug("tanh: derivative 1 - y", activations.tanh_backward, "cache.y * cache.y", "cache.y"),
    Bug("tanh: derivative 1 + y^2", activations.tanh_backward, "1 - cache", "1 + cache"),
    Bug("scaled tanh: slope 2/3 forgotten", activations.scaled_tanh_backward, "SCALED_TANH_SLOPE * (", "("),
    Bug("scaled tanh: as if not scaled", activations.scaled_tanh_backward, "cache.y * cache.y / SCALED_TANH_GAIN",
        "cache.y * cache.y"),
    # maxout, dropout, reshape
    Bug("maxout: every piece gets the gradient", maxout.maxout_backward, "cache.winner * dy", "(cache.winner | True) * dy"),
    Bug("maxout: shared among the pieces", maxout.maxout_backward, "cache.winner * dy",
        "cache.winner / cache.winner.shape[-1] * dy"),
    Bug("maxout: the smallest piece wins", maxout.maxout, "argmax", "argmin"),
    Bug("dropout: mask forgotten in backward", dropout.dropout_backward, "dy * cache.keep", "dy"),
    Bug("dropout: factor forgotten in backward", dropout.dropout_backward, " * cache.scale", ""),
    Bug("dropout: the dropped ones get the gradient", dropout.dropout_backward, "cache.keep", "~cache.keep"),
    Bug("dropout layer: classic inference not scaled", nn.Dropout.backward, "return dy * cache", "return dy"),
    Bug("reshape: backward in reverse order", reshape.reshape_backward, "dy.reshape(", "dy[..., ::-1].reshape("),
    # networks
    Bug("sequential: layers in forward order", nn.Sequential.backward, "range(len(self.layers) - 1, lowest - 1, -1)",
        "range(lowest, len(self.layers))"),
    Bug("sequential: first layer forgotten", nn.Sequential.backward, "lowest - 1, -1)", "lowest, -1)"),
    # losses
    Bug("bce: gradient sigmoid(s) alone", losses.bce_with_logits, "- targets * sigmoid(-logits)[0]", ""),
    Bug("bce: the mean's 1/n forgotten", losses.bce_with_logits, "dlogits / logits.size", "dlogits"),
    Bug("bce: smoothing forgotten in the gradient", losses.bce_with_logits, "    dlogits = (1 - targets)",
        "    targets = (targets - smoothing / 2) / (1 - smoothing)\n    dlogits = (1 - targets)"),
    Bug("softmax: gradient p alone", losses.softmax_cross_entropy, "xp.exp(log_p) - q", "xp.exp(log_p)"),
    Bug("softmax: divided by N K", losses.softmax_cross_entropy, "- q) / n", "- q) / n / classes"),
    Bug("mean squares: factor 2 forgotten", losses.mean_squares, "2 / y.size", "1 / y.size"),
    Bug("half squared error: factor 2 too much", losses.half_squared_error, "error / len(y)", "2 * error / len(y)"),
    Bug("discriminator: sign of the real gradient", gan_losses.discriminator_bce,
        "return loss, d_real *", "return loss, -d_real *"),
    Bug("discriminator: fake divided by the real count", gan_losses.discriminator_bce,
        "scale / fake.size", "scale / real.size"),
    Bug("discriminator: scale forgotten in the gradient", gan_losses.discriminator_bce, "scale / fake.size", "1 / fake.size"),
    Bug("discriminator: smoothing forgotten in the gradient", gan_losses.discriminator_bce,
        "smoothing * sigmoid(real)[0] - (1 - smoothing) * sigmoid(-real)[0]", "-sigmoid(-real)[0]"),
    Bug("discriminator: smoothing on the wrong side", gan_losses.discriminator_bce,
        "d_real = smoothing * sigmoid(real)[0] - (1 - smoothing)", "d_real = smoothing * sigmoid(-real)[0] - (1 - smoothing)"),
    Bug("minimax: the non-saturating gradient", gan_losses.generator_minimax, "sigmoid(fake)", "sigmoid(-fake)"),
    Bug("non-saturating: the saturating gradient", gan_losses.generator_non_saturating, "sigmoid(-fake)", "sigmoid(fake)"),
    Bug("non-saturating: sign", gan_losses.generator_non_saturating, "-1 / fake.size", "1 / fake.size"),
    Bug("least squares: factor of the half", gan_losses.discriminator_least_squares, "error / real.size",
        "2 * error / real.size"),
    Bug("least squares generator: target 0", gan_losses.generator_least_squares, "error / fake.size", "fake / fake.size"),
    Bug("hinge: bends at 0", gan_losses.discriminator_hinge, "(fake > -1)", "(fake > 0)"),
    Bug("hinge: real never saturates", gan_losses.discriminator_hinge, "(real < 1)", "(real < 1e9)"),
    Bug("wasserstein: sign of both", gan_losses.discriminator_wasserstein, "-1 / real.size", "1 / real.size"),
    Bug("wasserstein generator: mean forgotten", gan_losses.generator_wasserstein, "-1 / fake.size", "-1"),
]  # fmt: skip


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The function does wrong inside this context, wherever it was imported."""
    source = textwrap.dedent(inspect.getsource(bug.function))
    if source.count(bug.right) == 0:
        raise LookupError(f"{bug.story}: {bug.right!r} is not in {bug.function.__qualname__}")
    namespace = dict(bug.function.__globals__)
    exec(compile(source.replace(bug.right, bug.wrong), f"<{bug.story}>", "exec"), namespace)
    right_code = bug.function.__code__
    bug.function.__code__ = namespace[bug.function.__name__].__code__
    try:
        yield
    finally:
        bug.function.__code__ = right_code
