"""Wrong kernels, one line each: fast against plain must notice every one, and a crash does not count."""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest

from minigan.kernels import batchnorm, blocks, conv, dense, dropout, pointwise, resample, updates, winograd, workers
from minigan.kernels.loops import COMPILED
from minigan.kernels.toom_cook import toom_cook
from tests.kernels.twins import TWINS, Truth, differences, draw, fast, truth_of
from tests.planted_bugs import Bug, planted

form = toom_cook.__wrapped__
Plan = winograd.Plan

BUGS = [
    # the loops in NumPy
    Bug("surround: the border keeps what was there", blocks.surround, "border.fill(0)", "pass"),
    Bug("surround: the border above keeps what was there", blocks.surround, "(out[:, :top], ", "("),
    Bug("surround: the border below keeps what was there", blocks.surround, "out[:, bottom:], ", ""),
    Bug("surround: the border on the left keeps what was there", blocks.surround, "out[:, top:bottom, :left], ", ""),
    Bug("surround: the border on the right keeps what was there", blocks.surround, ", out[:, top:bottom, right:]", ","),
    Bug("gather: every part where the first one is", blocks.gather, "out[:, first : first +", "out[:, :"),
    Bug("both sides: a sign", blocks._both_sides, "np.matmul(left, half[", "np.matmul(abs(left), half["),
    Bug("both sides: the first piece again", blocks._both_sides, "tiles[:, :, some]", "tiles[:, :, : some.stop - some.start]"),
    Bug("scatter: the matrix of gather", blocks.scatter, "_both_sides(matrix.T,", "_both_sides(np.rot90(matrix.T, 2),"),
    Bug("scatter: overlapping tiles overwrite each other", blocks.scatter, "+= shares", "= shares"),
    Bug("scatter: the last row of tiles is dropped", blocks.scatter, "pixels[i, j] += shares[i, j]",
        "pixels[i, j, :, :-1] += shares[i, j, :, :-1]"),
    Bug("tiles: the phases of rows and columns exchanged", blocks._pixels, "0, 1, 2, 4, 6, 7", "0, 1, 2, 6, 4, 7"),
    Bug("tiles: the pixels of rows and columns exchanged", blocks._pixels, "transpose(3, 5,", "transpose(5, 3,"),
    Bug("pieces: the last partial piece is dropped", blocks.pieces, "range(start, stop, size)",
        "range(start, stop - size + 1, size)"),
    Bug("pieces: the last number of a piece is dropped", blocks.pieces, "min(at + size, stop)", "min(at + size - 1, stop)"),
    Bug("windows: rows and columns exchanged", blocks._windows, "0, 1, 2, 4, 5, 3", "0, 1, 2, 5, 4, 3"),
    Bug("windows: the steps exchanged", blocks._windows, ":: step[0], :: step[1]", ":: step[1], :: step[0]"),
    Bug("windows: overlapping ones overwrite each other", blocks.add_windows, "+= windows", "= windows"),
    Bug("windows: the last of few channels is dropped", blocks.add_windows, "range(channels)", "range(channels - 1)"),
    Bug("channel by channel: the last tap alone", blocks.depthwise, "out += np", "out[...] = np"),
    Bug("channel by channel: added to what was there", blocks.depthwise, "out.fill(0)", "pass"),
    Bug("channel by channel: rows and columns of the kernel exchanged", blocks.depthwise, "_window(a, b,",
        "_window(min(b, len(w) - 1), min(a, w.shape[1] - 1),"),
    Bug("moments: the count before forgotten", blocks.moments, "(before, mean, spread)", "(0, mean, spread)"),
    Bug("moments: not centred", blocks.moments, "piece - local", "piece - 0 * local"),
    Bug("moments: the distance of the means forgotten", blocks.merge_moments, "delta * delta", "0 * delta"),
    Bug("moments: a sign of the distance", blocks.merge_moments, "mean_a + delta", "mean_a - delta"),
    Bug("moments: weights exchanged", blocks.merge_moments, "(m / (n + m))", "(n / (n + m))"),
    Bug("column sums: the last piece alone", blocks.column_sums, "total +=", "total ="),
    Bug("scale and shift: the mean forgotten", blocks.scale_shift, "rows[part], norm.mean", "rows[part], 0 * norm.mean"),
    Bug("scale and shift: a sign", blocks.scale_shift, "+= norm.beta", "-= norm.beta"),
    Bug("scale and shift: the activation forgotten", blocks.scale_shift, "slope != 1", "False"),
    Bug("product sums: the mean forgotten", blocks.product_sums, "rows[part] - norm.mean", "rows[part] - 0 * norm.mean"),
    Bug("product sums: the activation forgotten", blocks.product_sums, "_through(dy[part], distance, norm, slope)",
        "dy[part]"),
    Bug("product sums: the last piece alone", blocks.product_sums, "product +=", "product ="),
    Bug("combine: the mean forgotten", blocks.combine, "rows[part] - norm.mean", "rows[part] - 0 * norm.mean"),
    Bug("combine: the activation forgotten", blocks.combine, "_through(dy[part], distance, norm, slope)", "dy[part]"),
    Bug("combine: a sign", blocks.combine, "-= shift", "+= shift"),
    Bug("leaky: the other half", blocks._larger, "np.maximum if", "np.minimum if"),
    Bug("through: beta forgotten", blocks._through, "a += norm.beta", "pass"),
    Bug("leaky backward: by the sign of dy", blocks.leaky_backward, "greater(y[part]", "greater(dy[part]"),
    # the workers
    Bug("share: what the last worker returns is dropped", workers.share, "return shared.values", "return shared.values[:-1]"),
    Bug("share: the last part is not done", workers._Shared._one, "self._work(", "part < len(self.values) - 1 and self._work("),
    Bug("share: parts begin one too late", workers._Shared._one, "self._work(self._bounds[part]", "self._work(self._bounds[part] + 1"),
    # dropout, maxout and upsampling
    Bug("masked: no scale", blocks.masked, "out[part] *= x", "x"),
    Bug("masked: by the first piece of the mask", blocks.masked, "keep[part]", "keep[: part.stop - part.start]"),
    Bug("dropout: the mask of the first worker", dropout._masked, "mask[a:b]", "mask[: b - a]"),
    Bug("maxout: several winners", blocks.maxout, "&= ~found", "|= False"),
    Bug("maxout: the last piece is forgotten", blocks.maxout, "range(1, groups.shape[2])",
        "range(1, groups.shape[2] - 1)"),
    Bug("maxout backward: all win", blocks.maxout_backward, "winner,", "np.ones_like(winner),"),
    Bug("maxout: the smallest", blocks.maxout, "np.maximum(", "np.minimum("),
    Bug("upsampling: as many columns as rows", resample.upsample_nearest, "x[some, :, None, :, None]",
        "x[some, :, None, ::-1, None]"),
    Bug("upsampling backward: the first images again", resample.upsample_nearest_backward, "(dy[some], factor)",
        "(dy[: some.stop - some.start], factor)"),
    # batch normalisation
    Bug("batchnorm: the count of the first worker", batchnorm._measure, "count += other[0]", "pass"),
    Bug("batchnorm: the moments of the first worker", batchnorm._measure, "in others", "in others[:0]"),
    Bug("batchnorm: eps forgotten", batchnorm._normalise, "count + eps", "count"),
    Bug("batchnorm: gamma forgotten", batchnorm._normalise, "gamma * inv_std", "inv_std"),
    Bug("batchnorm: variance divided by R - 1", batchnorm._normalise, "(spread / count)", "(spread / (count - 1))"),
    Bug("batchnorm backward: sums of the first worker", batchnorm._backward, "for total, _ in parts]",
        "for total, _ in parts[:1]]"),
    Bug("batchnorm backward: products of the first worker", batchnorm._backward, "for _, product in parts]",
        "for _, product in parts[:1]]"),
    Bug("batchnorm backward: 1/std forgotten in the slope", batchnorm._backward, "(norm.gain * cache.inv_std * all_dgamma",
        "(norm.gain * all_dgamma"),
    Bug("batchnorm backward: R forgotten in the shift", batchnorm._backward, "norm.gain * all_dbeta / cache.samples",
        "norm.gain * all_dbeta / (cache.samples + 1)"),
    Bug("batchnorm backward: the slope forgotten", batchnorm.batchnorm_leaky_backward, "cache.beta, slope", "cache.beta, 1.0"),
    Bug("batchnorm leaky: no rectifier", batchnorm.batchnorm_leaky, "_measure(rows), slope", "_measure(rows)"),
    Bug("sync batchnorm: statistics of the part", batchnorm.sync_batchnorm,
        "plain_sync.merge_moments(_measure(rows), gather)", "_measure(rows)"),
    Bug("sync batchnorm backward: sums of the part", batchnorm.sync_batchnorm_backward, "LINEAR, gather", "LINEAR"),
    Bug("sync batchnorm backward: sums exchanged", batchnorm._backward,
        "np.stack([dgamma, dbeta])", "np.stack([dbeta, dgamma])"),
    Bug("batchnorm cache: x_hat not centred", batchnorm.BatchNormCache.x_hat.fget, "self.x - self.mean", "self.x"),
    # convolution on tiles
    Bug("matrices: a sign of the taps", form, "/ np.prod(np.subtract(p, others))", "/ abs(np.prod(np.subtract(p, others)))"),
    Bug("matrices: infinity forgotten", form, "[::-1], 1, 1", "[::-1], 1, 0"),
    Bug("plan: padding on the wrong side", winograd.plans, "geometry.padding[0], geometry.padding[2]",
        "geometry.padding[1], geometry.padding[3]"),
    Bug("plan: top and left exchanged", winograd.plans, "geometry.padding[0], geometry.padding[2]",
        "geometry.padding[2], geometry.padding[0]"),
    Bug("plan: the image without its padding", Plan.input_tiles, "surround(x, self.top, self.left,", "surround(x, 0, 0,"),
    Bug("plan: input gradients are added to what was there", Plan.add_inputs, "padded.fill(0)", "pass"),
    Bug("plan: outputs are added to what was there", Plan.add_outputs, "target.fill(0)", "pass"),
    Bug("plan: kernel flipped", Plan.weights, "= w\n", "= w[::-1, ::-1]\n"),
    Bug("plan: phases of the weights exchanged", Plan.weights, "transpose(0, 2, 1, 3, 4, 5)", "transpose(0, 2, 3, 1, 4, 5)"),
    Bug("plan: taps cut off on the wrong side", Plan.weight_gradient, "taps[: self.kernel, : self.kernel]",
        "taps[-self.kernel :, -self.kernel :]"),
    Bug("tiles: weight gradient of the second chunk overwrites", winograd._add_weight_products,
        "add_product(v[place].T, e[place], du[place])",
        "np.matmul(v[place].T, e[place], out=du[place])"),
    Bug("tiles: every chunk is the first", winograd.conv2d_weight_grad, "first=some.start == 0", "first=True"),
    Bug("tiles: output gradients of the first images for all", winograd._add_weight_products, "plan.output_tiles(dy[some]",
        "plan.output_tiles(dy[: some.stop - some.start]"),
    Bug("tiles: every piece where the first one is", winograd._add_weight_products, "plan.input_tiles(x[some], v, some.start",
        "plan.input_tiles(x[some], v, 0"),
    Bug("tiles: images of a piece in reverse order", winograd.conv2d, "plan.input_tiles(x[some])",
        "plan.input_tiles(x[some][::-1])"),
    # convolution by windows
    Bug("conv: padding on the wrong side", conv._inner, "top, _, left, _ =", "_, top, _, left ="),
    Bug("conv: zeros on the wrong side", conv._padded, "top, _, left, _ =", "_, top, _, left ="),
    Bug("conv: input gradients are added to what was there", conv.conv2d_input_grad, "padded.fill(0)", "pass"),
    Bug("conv: weight gradient of the second piece overwrites", conv._weight_grad,
        "add_product(_windows(x[some], kernel, places, geometry).T, rows, total)",
        "np.matmul(_windows(x[some], kernel, places, geometry).T, rows, out=total)"),
    Bug("conv: weights of the last channel not added", conv.conv2d_weight_grad, "dw.shape[2], smallest", "dw.shape[2] - 1, smallest"),
    Bug("conv: the total overwritten", conv.conv2d_weight_grad, "i:j] += dw", "i:j] = dw"),
    Bug("conv: weight gradient of the first worker", conv._weight_grad, "np.sum(share(part, len(x)), axis=0)",
        "share(part, len(x))[0]"),
    Bug("conv: bias gradient of the first worker", conv.conv2d_bias_grad, "np.sum(sums, axis=0)", "sums[0]"),
    Bug("conv: channel by channel, every image is the first", conv._depthwise, "_padded(x[some]", "_padded(x[:1]"),
    # dense, activations, updates
    Bug("dense: columns of the second worker", dense.dense, "w[:, i:j]", "(i == 0) * w[:, i:j]"),
    Bug("dense: the bias taken off", dense.dense, "y[:, i:j] += b", "y[:, i:j] -= b"),
    Bug("dense: the bias of the first worker", dense.dense, "+= b[i:j]", "+= b[: j - i]"),
    Bug("dense: weight gradient of the second worker", dense.dense_weight_grad, "np.matmul(rows[i:j], dy, out=dw[i:j])",
        "np.matmul((i == 0) * rows[i:j], dy, out=dw[i:j])"),
    Bug("dense: what was there is overwritten", dense.dense_weight_grad, "add_product(rows[i:j], dy, dw[i:j])",
        "np.matmul(rows[i:j], dy, out=dw[i:j])"),
    Bug("dense: the weight gradient of the first worker is added", dense.dense_weight_grad, "add_product(rows[i:j]",
        "add_product(rows[: j - i]"),
    Bug("dense: the bias gradient is not added", dense.dense_bias_grad, "total += db", "total[...] = db"),
    Bug("dense: the bias gradient of all samples but one", dense.dense_bias_grad, "loops.column_sums(dy)", "loops.column_sums(dy[1:])"),
    Bug("relu: leaky", pointwise.relu, "0.0", "0.01"),
    Bug("relu backward: leaky", pointwise.relu_backward, "0.0", "0.01"),
    Bug("pieces of activations: always the first", pointwise.by_pieces, "array[some]",
        "array[: some.stop - some.start]"),
    Bug("sigmoid: a sign", pointwise._sigmoid, "np.negative(x,", "np.positive(x,"),
    Bug("tanh: sine", pointwise.tanh, "np.tanh", "np.sin"),
    Bug("tanh backward: of the wrong array", pointwise._tanh_backward, "multiply(y, y", "multiply(dy, dy"),
    Bug("average: the last number of a part is left out", updates.move_average, "pieces(start, stop,",
        "pieces(start, stop - 1,"),
    Bug("average: the shares exchanged", updates.move_average, "old, new =", "new, old ="),
    Bug("updates: the last number of a part is left out", updates._by_pieces, "pieces(start, stop,",
        "pieces(start, stop - 1,"),
]  # fmt: skip

if COMPILED:
    from minigan.kernels import compiled

    gather_loop, scatter_loop = compiled._gather_loop.__wrapped__, compiled._scatter_loop.__wrapped__
    window_loops = compiled._window_loops.__wrapped__
    maxout_loop = compiled._maxout_loop.__wrapped__
    COMPILED_BUGS = [
        Bug("gather: the last tile is dropped", gather_loop, "range(image.shape[0] * rows * columns)",
            "range(image.shape[0] * rows * columns - 1)"),
        Bug("gather: every part where the first one is", gather_loop, "before + t", "t"),
        Bug("gather: rows of the matrix exchanged", gather_loop, "left[j, 0] * half[i, 0, c]", "left[i, 0] * half[i, 0, c]"),
        Bug("scatter: overlapping tiles overwrite each other", scatter_loop, "c] += value", "c] = value"),
        Bug("scatter: a row of the tile forgotten", scatter_loop, "for i in range(1, n)", "for i in range(2, n)"),
        Bug("gather: the phases exchanged", gather_loop, "step * a + phase // stride", "step * a + phase % stride"),
        Bug("scatter: the phases exchanged", scatter_loop, "step * a + phase // stride", "step * a + phase % stride"),
        Bug("windows: the last number of a row is dropped", window_loops, "for c in range(run):\n"
            "                            windows", "for c in range(run - 1):\n                            windows"),
        Bug("windows: overlapping ones overwrite each other", window_loops, "c] += windows", "c] = windows"),
        Bug("masked: no scale", compiled.masked.py_func, " * factor", ""),
        Bug("masked: all are kept", compiled.masked.py_func, " * x.dtype.type(keep[i])", ""),
        Bug("maxout: several winners", maxout_loop, "free &= not won", "pass"),
        Bug("maxout: the last piece is forgotten", maxout_loop, "range(1, pieces)", "range(1, pieces - 1)"),
        Bug("maxout: the smallest", maxout_loop, "value > best", "value < best"),
        Bug("maxout backward: all win", compiled.maxout_backward.py_func, "* winner[n, u, p]", ""),
        Bug("windows: the step of a row for a column", compiled.add_windows, "stride[1] *", "stride[0] *"),
        Bug("channel by channel: added to what was there", compiled._depthwise_loop.py_func, "out[...] = 0", "pass"),
        Bug("channel by channel: the last column of taps is dropped", compiled._depthwise_loop.py_func,
            "range(w.shape[1])", "range(max(1, w.shape[1] - 1))"),
        Bug("channel by channel: the stride of rows for columns", compiled.depthwise, "stride[1]", "stride[0]"),
        Bug("moments: the distance of the means forgotten", compiled.moments.py_func, "+ delta * delta", "+ 0 * delta"),
        Bug("moments: the count before forgotten", compiled.moments.py_func, "* size / stop\n", "\n"),
        Bug("column sums: the last rows are dropped", compiled.column_sums.py_func, "range(0, count, ROWS)",
            "range(0, count - ROWS + 1, ROWS)"),
        Bug("scale and shift: the mean forgotten", compiled.scale_shift.py_func, "(rows[r, c] - mean[c])", "rows[r, c]"),
        Bug("product sums: the mean forgotten", compiled.product_sums.py_func, "rows[r, c] - mean[c]", "rows[r, c]"),
        Bug("product sums: the other half", compiled.product_sums.py_func, "> 0", "<= 0"),
        Bug("combine: the other half", compiled.combine.py_func, "> 0", "<= 0"),
        Bug("scale and shift: the other half", compiled.scale_shift.py_func, "a > 0", "a <= 0"),
        Bug("product sums: the last block of rows alone", compiled.product_sums.py_func, "product[c] +=", "product[c] ="),
        Bug("combine: a sign", compiled.combine.py_func, "- shift", "+ shift"),
        Bug("leaky: the other half", compiled.leaky.py_func, "> 0", "<= 0"),
        Bug("leaky backward: by the sign of dy", compiled.leaky_backward.py_func, "if y[i]", "if dy[i]"),
    ]  # fmt: skip
else:
    COMPILED_BUGS = []


@contextlib.contextmanager
def interpreted() -> Iterator[ModuleType]:
    """The compiled loops as the Python code that they are made of, whose bytecode can be exchanged; in short blocks."""
    with contextlib.ExitStack() as stack:
        for name, loop in vars(compiled).copy().items():
            if hasattr(loop, "py_func"):
                stack.enter_context(patch.object(compiled, name, loop.py_func))
        for decorator in ("compiled", "compiled_linear"):
            stack.enter_context(patch.object(compiled, decorator, lambda loop: loop))
        stack.enter_context(patch.object(compiled, "ROWS", 4))
        for made in (compiled._gather_loop, compiled._scatter_loop, compiled._window_loops, compiled._maxout_loop):
            stack.callback(made.cache_clear)
            made.cache_clear()
        yield compiled


def is_caught(loops: ModuleType) -> bool:
    """Whether a twin now disagrees. Each is called twice in a row, so that scratch memory holds something.

    All twins take their turn with a seed before the next one: most bugs are seen in one of the first few by their own.
    """
    return any(one_disagrees(seed, loops) for seed in range(30))


def one_disagrees(seed: int, loops: ModuleType) -> bool:
    """Whether a twin does, on arrays from this seed."""
    right = {name: truth_of(name, seed) for name in TWINS}
    with fast(2, loops), np.errstate(all="ignore"):
        return any(disagrees(name, seed, right[name]) for name in TWINS)


def disagrees(name: str, seed: int, right: Truth) -> bool:
    twin, (arrays, extra) = TWINS[name], draw(name, seed)
    try:
        twin.call({key: array + 1 for key, array in arrays.items()}, extra)
        results = twin.call(arrays, extra)
    except (ValueError, TypeError, IndexError, ZeroDivisionError):
        return False
    return not max(differences(results, right)) <= twin.tolerance


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_a_planted_bug_is_caught(bug):
    toom_cook.cache_clear()
    try:
        with planted(bug):
            assert is_caught(blocks)
    finally:
        toom_cook.cache_clear()


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there are no compiled loops")
@pytest.mark.parametrize("bug", COMPILED_BUGS, ids=lambda bug: bug.story)
def test_a_bug_planted_in_the_compiled_loops_is_caught(bug):
    with interpreted() as loops, planted(bug):
        assert is_caught(loops)


def test_without_a_bug_nothing_is_caught():
    assert not is_caught(blocks)
    if COMPILED:
        with interpreted() as loops:
            assert not is_caught(loops)


def test_there_are_many_bugs_of_different_stories():
    assert len({bug.story for bug in BUGS}) == len(BUGS) >= 60
    assert len({bug.story for bug in COMPILED_BUGS}) == len(COMPILED_BUGS)
