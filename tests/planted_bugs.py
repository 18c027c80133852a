"""Wrong gradients, one line each: a checker that cannot fail is no checker.

Each bug replaces a piece of one function's source. The mistakes are those that people make:
a forgotten path, a wrong sign, a missing factor, an overwritten sum.
"""

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minigan import nn, ops
from minigan.functional import (
    activations,
    batchnorm,
    conv,
    dense,
    dropout,
    gan_losses,
    losses,
    maxout,
    patches,
    pixel_shuffle,
    pooling,
    reshape,
    sums,
    upsample,
)
from minigan.games import at_once, gan, play
from minigan.nn import batchnorm as nn_batchnorm


@dataclass(frozen=True)
class Bug:
    """In `function`, `right` becomes `wrong`."""

    story: str
    function: Callable
    right: str
    wrong: str


BUGS = [
    # sums
    Bug("sums: a gradient overwrites what was there", sums.add_to, "total += gradient", "total[...] = gradient"),
    # dense
    Bug("dense: dx without the transpose's pairing", dense.dense_input_grad, "w.T", "w.T[:, ::-1]"),
    Bug("dense: dw averaged over the batch", dense.dense_weight_grad, "cache.x.T @ dy", "cache.x.T @ dy / len(dy)"),
    Bug("dense: dw of the first sample only", dense.dense_weight_grad, "cache.x.T @ dy", "cache.x[:1].T @ dy[:1]"),
    Bug("dense: dw is not added", dense.dense_weight_grad, "add_to(total, cache.x.T @ dy)",
        "cache.x.T @ dy"),
    Bug("dense: db averaged", dense.dense_bias_grad, "sum_rows(dy)", "sum_rows(dy) / len(dy)"),
    Bug("dense: db over all outputs", dense.dense_bias_grad, "sum_rows(dy)", "sum_rows(dy) * 0 + dy.sum()"),
    Bug("dense: sign of dx", dense.dense_input_grad, "dy @", "-dy @"),
    Bug("dense layer overwrites dw", nn.Dense.backward, 'ops.dense_weight_grad(dy, cache, grads["w"])',
        'grads["w"][...] = ops.dense_weight_grad(dy, cache)'),
    Bug("dense layer overwrites db", nn.Dense.backward, 'ops.dense_bias_grad(dy, grads["b"])',
        'grads["b"][...] = ops.dense_bias_grad(dy)'),
    Bug("dense: db is not added", dense.dense_bias_grad, "add_to(total, sum_rows(dy))", "sum_rows(dy)"),
    Bug("dense layer forgets db", nn.Dense.backward, "if self.bias:", "if not self.bias and False:"),
    # batch normalisation
    Bug("batchnorm: the mean is taken for a constant", batchnorm.batchnorm_backward, "dbeta + cache", "0 * dbeta + cache"),
    Bug("batchnorm: the variance is taken for a constant", batchnorm.batchnorm_backward, "* dgamma)", "* 0 * dgamma)"),
    Bug("batchnorm: statistics divided by R - 1", batchnorm.batchnorm_backward, "/ len(drows)", "/ (len(drows) - 1)"),
    Bug("batchnorm: sign of the variance path", batchnorm.batchnorm_backward, "dbeta + cache", "dbeta - cache"),
    Bug("batchnorm: gamma forgotten in dx", batchnorm.batchnorm_backward, "dx = gamma * cache", "dx = cache"),
    Bug("batchnorm: 1/std forgotten in dx", batchnorm.batchnorm_backward, "gamma * cache.inv_std", "gamma"),
    Bug("batchnorm: 1/std twice", batchnorm.batchnorm_backward, "cache.inv_std", "cache.inv_std**2"),
    Bug("batchnorm: dgamma with y instead of x_hat", batchnorm.batchnorm_backward,
        "sum_rows(drows * cache.x_hat)", "sum_rows(drows * gamma * cache.x_hat)"),
    Bug("batchnorm: dgamma averaged", batchnorm.batchnorm_backward,
        "sum_rows(drows * cache.x_hat)", "mean_rows(drows * cache.x_hat)"),
    Bug("batchnorm: dbeta averaged", batchnorm.batchnorm_backward, "sum_rows(drows)", "mean_rows(drows)"),
    Bug("batchnorm: R counts samples, not positions", batchnorm.batchnorm_backward, "/ len(drows)", "/ len(dy)"),
    Bug("batchnorm: eps missing from 1/std", batchnorm.batchnorm, "BatchNormCache(x_hat, inv_std",
        "BatchNormCache(x_hat, 1 / xp.sqrt(var)"),
    Bug("batchnorm inference: gamma forgotten", batchnorm.batchnorm_inference_backward, "gamma * cache.inv_std * dy",
        "cache.inv_std * dy"),
    Bug("batchnorm inference: 1/std forgotten", batchnorm.batchnorm_inference_backward, "gamma * cache.inv_std * dy",
        "gamma * dy"),
    Bug("batchnorm inference: dgamma without x_hat", batchnorm.batchnorm_inference_backward,
        "sum_rows(drows * cache.x_hat)", "sum_rows(drows)"),
    Bug("batchnorm layer: training rule for inference", nn.BatchNorm.gradients, "if constant else", "if not constant else"),
    Bug("batchnorm layer: dgamma and dbeta exchanged", nn_batchnorm.add, 'grads["gamma"], grads["beta"]',
        'grads["beta"], grads["gamma"]'),
    Bug("batchnorm: dgamma is not added", batchnorm.add_gradients, "gamma_total += dgamma", "gamma_total[...] = dgamma"),
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
    # convolution: each of the three primitives, whose mistakes the other two do not share
    Bug("conv: kernel flipped in the input gradient", conv.conv2d_input_grad, "_matrix(w,", "_matrix(w[::-1, ::-1],"),
    Bug("conv: kernel flipped in forward alone", conv.conv2d, "_matrix(w,", "_matrix(w[::-1, ::-1],"),
    Bug("conv: kernel flipped in the weight gradient", conv.conv2d_weight_grad,
        "dy.shape[3])", "dy.shape[3])[::-1, ::-1]"),
    Bug("conv: height and width of the kernel exchanged in the weight gradient", conv.conv2d_weight_grad,
        "dy.shape[3])", "dy.shape[3]).swapaxes(0, 1)"),
    Bug("conv: input and output channels exchanged in the weight gradient", conv.conv2d_weight_grad,
        "x.shape[3] // geometry.groups, dy.shape[3])", "dy.shape[3], x.shape[3] // geometry.groups).swapaxes(2, 3)"),
    Bug("conv: weight gradient averaged over the batch", conv.conv2d_weight_grad, "_rows(dy,", "_rows(dy / len(dy),"),
    Bug("conv: weight gradient averaged over the places", conv.conv2d_weight_grad, "_rows(dy,",
        "_rows(dy / dy[0, ..., 0].size,"),
    Bug("conv: weight gradient of the first sample", conv.conv2d_weight_grad, "patches(x,",
        "patches(x * (x[:1] == x),"),
    Bug("conv: input gradient with the weights read by output channel", conv.conv2d_input_grad,
        "_matrix(w,", "_matrix(w[..., ::-1],"),
    Bug("conv: groups exchanged in the input gradient", conv.conv2d_input_grad, "groups.transpose(1, 2, 0, 3)",
        "groups[::-1].transpose(1, 2, 0, 3)"),
    Bug("conv: groups interleaved in the input gradient", conv.conv2d_input_grad, "transpose(1, 2, 0, 3)",
        "transpose(1, 2, 3, 0)"),
    Bug("conv: groups exchanged in the weight gradient", conv.conv2d_weight_grad, "_join_groups(by_group)",
        "_join_groups(by_group[::-1])"),
    Bug("conv: groups of the windows interleaved in forward alone", conv.conv2d, "_join_groups(y)",
        "y.transpose(1, 2, 0)"),
    Bug("conv: samples in reverse order", conv.conv2d_input_grad, "_rows(dy,", "_rows(dy[::-1],"),
    # the windows, by which forward and backward move
    Bug("conv: overlapping windows overwrite each other", patches.add_patches, "+= windows", "= windows"),
    Bug("conv: padding cut off on the wrong side", patches.add_patches, "padded[:, top : top + height",
        "padded[:, bottom : bottom + height"),
    Bug("conv: left and right exchanged when the padding is cut off", patches.add_patches, "left : left + width",
        "right : right + width"),
    Bug("conv: padding not cut off", patches.add_patches, "top : top + height, left : left + width",
        ":height, :width"),
    Bug("conv: stride forgotten in backward", patches.add_patches, "_taps(a, b, (p, q), geometry)",
        "_taps(a, b, (p, q), Geometry((1, 1), geometry.padding, geometry.dilation))"),
    Bug("conv: dilation forgotten in backward", patches.add_patches, "_taps(a, b, (p, q), geometry)",
        "_taps(a, b, (p, q), Geometry(geometry.stride, geometry.padding))"),
    Bug("conv: taps exchanged in backward", patches.add_patches, "windows[:, :, :, a, b]", "windows[:, :, :, kh - 1 - a, b]"),
    Bug("conv: vertical stride on both axes in backward", patches.add_patches, "(p, q), geometry)",
        "(p, q), Geometry((min(geometry.stride),) * 2, geometry.padding, geometry.dilation))"),
    Bug("conv: one dilation on both axes in backward", patches.add_patches, "(p, q), geometry)",
        "(p, q), Geometry(geometry.stride, geometry.padding, (min(geometry.dilation),) * 2))"),
    Bug("conv: the last tap forgotten in backward", patches.add_patches, "range(kw)", "range(max(kw - 1, 1))"),
    Bug("conv: the border is the image's mean in forward alone", patches.patches, "geometry.padding, border)",
        "geometry.padding, border + x.mean())"),
    # the layers
    Bug("conv layer: bias gradient averaged over the batch", conv.conv2d_bias_grad, "sum_rows(dy.reshape(-1, dy.shape[-1]))",
        "dy.mean(axis=0).sum(axis=(0, 1))"),
    Bug("conv layer: bias gradient averaged over the image", conv.conv2d_bias_grad, "sum_rows(dy.reshape(-1, dy.shape[-1]))",
        "dy.mean(axis=(1, 2)).sum(axis=0)"),
    Bug("conv layer overwrites dw", nn.Conv2D.backward,
        'ops.conv2d_weight_grad(cache, dy, pair(self.kernel), self.geometry(size), grads["w"])',
        'grads["w"][:] = ops.conv2d_weight_grad(cache, dy, pair(self.kernel), self.geometry(size))'),
    Bug("conv: dw is not added", conv.conv2d_weight_grad, "add_to(total, dw)", "dw"),
    Bug("conv layer overwrites db", nn.Conv2D.backward, 'ops.conv2d_bias_grad(dy, grads["b"])',
        'grads["b"][:] = ops.conv2d_bias_grad(dy)'),
    Bug("conv: db is not added", conv.conv2d_bias_grad, "add_to(total, ", "add_to(None, "),
    Bug("conv layer: bias gradient forgotten", nn.Conv2D.backward, "if self.bias:", "if not self.bias and False:"),
    Bug("conv layer: groups forgotten in the weight gradient", nn.Conv2D.backward,
        "pair(self.kernel), self.geometry(size),", "pair(self.kernel), ops.Geometry(self.geometry(size).stride),"),
    Bug("transposed conv: the input gradient taken for conv2d's", nn.ConvTranspose2D.backward,
        'ops.conv2d_and_seen(dy, theta["w"], self.geometry())',
        '(ops.conv2d_input_grad(dy, theta["w"].swapaxes(2, 3), self._size(dy.shape[1:3]), self.geometry())'
        "[:, : cache.shape[1], : cache.shape[2]], dy)"),
    Bug("transposed conv: kernel flipped in backward", nn.ConvTranspose2D.backward, 'ops.conv2d_and_seen(dy, theta["w"],',
        'ops.conv2d_and_seen(dy, theta["w"][::-1, ::-1],'),
    Bug("transposed conv: x and dy exchanged in the weight gradient", nn.ConvTranspose2D.backward,
        'ops.conv2d_weight_grad(seen, cache, pair(self.kernel), self.geometry(), grads["w"])',
        'grads["w"] += ops.conv2d_weight_grad(cache, dy[:, :1, :1], (1, 1), ops.Geometry((9, 9))).swapaxes(2, 3)'),
    Bug("transposed conv: output padding on the top and left in backward", nn.ConvTranspose2D.backward,
        'ops.conv2d_and_seen(dy, theta["w"],',
        'ops.conv2d_and_seen(np.roll(dy, pair(self.output_padding), (1, 2)), theta["w"],'),
    Bug("transposed conv: stride forgotten in backward", nn.ConvTranspose2D.backward,
        'ops.conv2d_and_seen(dy, theta["w"], self.geometry())',
        '(ops.conv2d(dy, theta["w"], geometry_for((0, 0), self.kernel, 1, self.padding, self.dilation, self.groups))'
        "[:, : cache.shape[1], : cache.shape[2]], dy)"),
    Bug("transposed conv: bias gradient averaged", conv.conv2d_bias_grad, "sum_rows(dy.reshape(-1, dy.shape[-1]))",
        "dy.mean(axis=(0, 1, 2))"),
    Bug("transposed conv: the bias is added before the painting in forward alone", nn.ConvTranspose2D.forward,
        "y = y + theta", "y = (y != 0) * theta"),
    # pooling
    Bug("average pool: divided by the width alone", pooling.average_pool_backward, "(kernel[0] * kernel[1])", "kernel[1]"),
    Bug("average pool: not divided", pooling.average_pool_backward, "dy / (kernel[0] * kernel[1])", "dy"),
    Bug("average pool: divided by the stride's area", pooling.average_pool_backward, "(kernel[0] * kernel[1])",
        "(geometry.stride[0] * geometry.stride[1])"),
    Bug("average pool: zeros outside the image do not count in forward alone", pooling.average_pool,
        "windows.mean(axis=(3, 4))",
        "windows.sum(axis=(3, 4)) / patches(x * 0 + 1, kernel, geometry).sum(axis=(3, 4))"),
    Bug("max pool: every pixel gets the gradient", pooling.max_pool_backward, "cache.winner * dy",
        "(cache.winner | True) * dy"),
    Bug("max pool: shared among the pixels", pooling.max_pool_backward, "cache.winner * dy",
        "(cache.winner | True) / cache.winner.shape[3] * dy"),
    Bug("max pool: the smallest pixel wins", pooling.max_pool, "argmax", "argmin"),
    Bug("max pool: the last pixel of the window always wins", pooling.max_pool, "flat.argmax(axis=3)[:, :, :, None] == taps",
        "(flat.argmax(axis=3) * 0 - 1 + len(taps))[:, :, :, None] == taps"),
    Bug("max pool: the winner's place read column by column", pooling.max_pool_backward,
        "flat.reshape(*dy.shape[:3], *kernel, dy.shape[3])",
        "flat.reshape(*dy.shape[:3], *kernel, dy.shape[3]).swapaxes(3, 4)"),
    Bug("max pool: padding with zeros wins in backward", pooling.max_pool, "winner = flat",
        "winner = patches(x, kernel, geometry).reshape(flat.shape)"),
    Bug("global average: not divided", pooling.global_average_backward, "dy / (height * width)", "dy"),
    Bug("global average: divided by the height alone", pooling.global_average_backward, "(height * width)", "height"),
    # upsampling and PixelShuffle
    Bug("upsample nearest: the mean of the copies", upsample.upsample_nearest_backward, "sum(axis", "mean(axis"),
    Bug("upsample nearest: one copy", upsample.upsample_nearest_backward, ".sum(axis=(2, 4))", "[:, :, 0, :, 0]"),
    Bug("upsample nearest: tiles instead of blocks in backward", upsample.upsample_nearest_backward,
        "height // factor, factor, width // factor, factor, channels).sum(axis=(2, 4))",
        "factor, height // factor, factor, width // factor, channels).sum(axis=(1, 3))"),
    Bug("upsample bilinear: backward averages the blocks", upsample.upsample_bilinear_backward,
        "return _along_both(dy, rows, columns)", "return upsample_nearest_backward(dy, factor)"),
    Bug("upsample bilinear: backward interpolates downwards", upsample.upsample_bilinear_backward,
        "interpolation(n // factor, factor).T", "np.linalg.pinv(interpolation(n // factor, factor))"),
    Bug("upsample bilinear: rows and columns exchanged in backward", upsample.upsample_bilinear_backward,
        "_along_both(dy, rows, columns)", "_along_both(dy.swapaxes(1, 2), columns, rows).swapaxes(1, 2)[:, ::-1]"),
    Bug("upsample bilinear: weights of a row in reverse order in backward", upsample.upsample_bilinear_backward,
        ".T.astype", "[::-1].T.astype"),
    Bug("upsample layer: the other mode in backward", nn.Upsample.backward, '== "nearest"', '!= "nearest"'),
    Bug("pixel unshuffle: row and column within the block exchanged", pixel_shuffle.pixel_unshuffle,
        "transpose(0, 1, 3, 5, 2, 4)", "transpose(0, 1, 3, 5, 4, 2)"),
    Bug("pixel unshuffle: channels last in the new channels", pixel_shuffle.pixel_unshuffle,
        "transpose(0, 1, 3, 5, 2, 4)", "transpose(0, 1, 3, 2, 4, 5)"),
    Bug("pixel unshuffle: tiles instead of blocks", pixel_shuffle.pixel_unshuffle,
        "height // factor, factor, width // factor, factor, channels).transpose(0, 1, 3, 5, 2, 4)",
        "factor, height // factor, factor, width // factor, channels).transpose(0, 2, 4, 5, 1, 3)"),
    Bug("pixel shuffle: channels last in forward alone", pixel_shuffle.pixel_shuffle,
        "channels // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)",
        "factor, factor, channels // factor**2).transpose(0, 1, 3, 2, 4, 5)"),
    # networks
    Bug("sequential: layers in forward order", nn.Sequential.backward, "reversed(range(lowest, len(self.steps)))",
        "range(lowest, len(self.steps))"),
    Bug("sequential: first layer forgotten", nn.Sequential.backward, "range(lowest,", "range(lowest + 1,"),
    # D's step
    Bug("step of D: the gradient of the fakes is forgotten", gan.discriminator_step,
        "d.net.backward(d.theta, dfake, cache_fake, d.grads, need_dx=False)", "pass"),
    Bug("step of D: the real gradient through the cache of the fakes", gan.discriminator_step,
        "dreal, cache_real, d.grads", "dreal[: len(fake)].repeat(2, 0)[: len(fake)], cache_fake, d.grads"),
    Bug("step of D, joined: the gradient of the fakes is forgotten", gan.step_on_both,
        "concatenate(dreal, dfake)", "concatenate(dreal, 0 * dfake)"),
    Bug("step of D, joined: the gradient of the real ones is forgotten", gan.step_on_both,
        "concatenate(dreal, dfake)", "concatenate(0 * dreal, dfake)"),
    Bug("step of D, joined: the halves of the gradient exchanged", gan.step_on_both,
        "concatenate(dreal, dfake)", "concatenate(dfake, dreal)"),
    Bug("step of D, joined: the halves of the logits exchanged", gan.step_on_both,
        "loss.discriminator(logits[:n], logits[n:])", "loss.discriminator(logits[-n:], logits[:-n])"),
    Bug("step of D, joined: the batch in another order", gan.step_on_both,
        "concatenate(real, fake)", "concatenate(fake, real)"),
    Bug("step of D, joined: statistics of the fakes alone", gan.step_on_both,
        "net.backward(", "logits, cache = net.forward(d.theta, ops.concatenate(fake, fake)[: len(logits)], "
        "train=True, rng=rng); net.backward("),
    # losses
    Bug("bce: gradient sigmoid(s) alone", losses.bce_with_logits, "- targets * sigmoid(-logits)[0]", ""),
    Bug("bce: the mean's 1/n forgotten", losses.bce_with_logits, "dlogits / logits.size", "dlogits"),
    Bug("bce: smoothing forgotten in the gradient", losses.bce_with_logits, "    dlogits = (1 - targets)",
        "    targets = (targets - smoothing / 2) / (1 - smoothing)\n    dlogits = (1 - targets)"),
    Bug("softmax: gradient p alone", losses.softmax_cross_entropy, "xp.exp(log_p) - q", "xp.exp(log_p)"),
    Bug("softmax: divided by N K", losses.softmax_cross_entropy, "- q) / n", "- q) / n / classes"),
    Bug("mean squared error: factor 2 forgotten", losses.mean_squared_error, "2 / y.size", "1 / y.size"),
    Bug("half squared error: factor 2 too much", losses.half_squared_error, "error / len(y)", "2 * error / len(y)"),
    Bug("discriminator: sign of the real gradient", gan_losses.discriminator_bce,
        "return loss, dreal *", "return loss, -dreal *"),
    Bug("discriminator: fake divided by the real count", gan_losses.discriminator_bce,
        "scale / fake.size", "scale / real.size"),
    Bug("discriminator: scale forgotten in the gradient", gan_losses.discriminator_bce, "scale / fake.size", "1 / fake.size"),
    Bug("discriminator: smoothing forgotten in the gradient", gan_losses.discriminator_bce,
        "smoothing * sigmoid(real)[0] - (1 - smoothing) * sigmoid(-real)[0]", "-sigmoid(-real)[0]"),
    Bug("discriminator: smoothing on the wrong side", gan_losses.discriminator_bce,
        "dreal = smoothing * sigmoid(real)[0] - (1 - smoothing)", "dreal = smoothing * sigmoid(-real)[0] - (1 - smoothing)"),
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

# Mistakes in the steps that leave every gradient right: the rounds written by hand notice them (tests/games).
ROUND_BUGS = [
    Bug("apart: statistics of the fakes forgotten", gan.discriminator_step,
        "d.net.update_statistics(d.theta, cache_fake)", "pass"),
    Bug("apart: statistics moved twice by the real ones", gan.discriminator_step,
        "d.net.update_statistics(d.theta, cache_fake)", "d.net.update_statistics(d.theta, cache_real)"),
    Bug("joined: statistics moved twice", gan.step_on_both,
        "net.update_statistics(d.theta, cache)", "[net.update_statistics(d.theta, cache) for _ in range(2)]"),
    Bug("joined: statistics not moved", gan.step_on_both, "net.update_statistics(d.theta, cache)", "pass"),
    Bug("joined: played apart", play._step_of_d, "if game.joined", "if False"),
    Bug("joined: updated twice", gan.step_on_both, "d.update()", "d.update(); d.update()"),
    Bug("at once: one set of statistics", at_once._for_both, "in_parts(d.net, 2)", "d.net"),
    Bug("at once: the masks of the first batch for both", at_once._for_both, "len(real) * d.net", "0 * d.net"),
    Bug("at once, simultaneous: D's gradient on real samples forgotten", ops.both_losses,
        "concatenate(dreal, divisor)", "concatenate(0 * dreal, divisor)"),
    Bug("at once, simultaneous: the gradient on real samples for G", at_once.simultaneous_step_at_once, "[n:]\n", "[:n]\n"),
    Bug("at once, simultaneous: D's own gradient for G", at_once.simultaneous_step_at_once, "scaled_samples(dx, found.ratio)", "dx"),
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
    made = namespace[bug.function.__name__]
    for inner in ("fget", "__wrapped__"):  # of a property, of a cached function
        made = getattr(made, inner, made)
    bug.function.__code__ = made.__code__
    try:
        yield
    finally:
        bug.function.__code__ = right_code
