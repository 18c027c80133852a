"""Wrong CUDA sources, one line each: fast against plain must notice every one, and a crash does not count."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest

from minigan.cuda import launch
from tests.cuda.gpu import fast_gpu, on_gpu, small_launches
from tests.cuda.test_activated_dropout import agree as dropped_alike
from tests.cuda.test_fused_rectifier import apart, in_one
from tests.cuda.test_fused_updates import RULES, after_updates, arrays
from tests.cuda.test_pcg64 import agree, drops, parts_agree
from tests.kernels.twins import ALL_TWINS, draw, errors
from tests.strategies import error
from tests.strict_kernels import BadLaunch

pytestmark = pytest.mark.emulated


class Bug(NamedTuple):
    """In the source, `right` becomes `wrong`, and `notices` tells: the name of a twin, of a rule, "rectifier", "numbers", "parts",
    "drops", "leaky_relu drops" or "maxout drops".
    """

    file: str
    notices: str
    right: str
    wrong: str


BUGS = [
    # the loops
    Bug("pointwise", "tanh", "i < n;", "i < n - 1;"),
    Bug("pointwise", "tanh", "blockIdx.x * blockDim.x + threadIdx.x;", "threadIdx.x;"),
    Bug("pointwise", "tanh", "i += (long long)gridDim.x * blockDim.x", "i += blockDim.x * (n > 4 ? gridDim.x + 1 : 1)"),
    Bug("pointwise", "tanh", "i < n;", "i <= n;"),
    # activations and dropout
    Bug("pointwise", "leaky_relu", "v > 0", "v < 0"),
    Bug("pointwise", "leaky_relu_backward", "y[i] > 0 ? dy", "dy[i] > 0 ? dy"),
    Bug("pointwise", "tanh_backward", "(1 - y[i] * y[i])", "(1 - y[i])"),
    Bug("pointwise", "sigmoid", "(v > 0 ? 1 : e)", "1"),
    Bug("pointwise", "sigmoid_backward", "* dy[i]", ""),
    Bug("pointwise", "dropout", "/ channels / pixels", "/ channels"),
    Bug("pointwise", "dropout_backward", "* scale", ""),
    Bug("pointwise", "activated", "b[i % channels]", "b[i / channels % channels]"),
    Bug("pointwise", "tanh", "channels ? x[i] + b[i % channels] : x[i]", "x[i] + b[i % (channels + 1)]"),
    Bug("maxout", "activated", "own[p]", "own[0]"),
    Bug("maxout", "activated", "g * pieces % channels", "g % channels"),
    Bug("maxout", "activated", "{0, x[g * pieces] + (channels ? own[0] : 0)}", "{0, x[g * pieces]}"),
    Bug("pointwise", "scaled_pixels", "chosen[i / size]", "(i / size)"),
    Bug("pointwise", "scaled_pixels", "+ i % size", "+ i"),
    Bug("pointwise", "scaled_pixels", "+ shift", ""),
    Bug("pointwise", "concatenate", "i < first ? x[i]", "i <= first ? x[i]"),
    Bug("pointwise", "concatenate", "y[i - first]", "y[i % first]"),
    # conditions
    Bug("conditioning", "with_condition", "row / each % samples", "row % samples"),
    Bug("conditioning", "with_condition", "row / each % samples", "row / each / samples"),
    Bug("conditioning", "with_condition", "c < channels ? x", "c <= channels ? x"),
    Bug("conditioning", "with_condition_backward", "i / channels * (channels + size)", "i / channels * channels"),
    Bug("conditioning", "with_condition_backward", "p / each * each * samples + n * each", "p / each * each + n * each"),
    Bug("conditioning", "with_condition_backward", "p < places", "p < 1"),
    Bug("conditioning", "with_condition_backward", "+ channels + k]", "+ k]"),
    Bug("conditioning", "condition_of_backward", "row % each == 0", "true"),
    Bug("conditioning", "condition_of_backward", "row < each * samples && ", ""),
    Bug("conditioning", "condition_of_backward", "sum[i] = dh[i] +", "sum[i] ="),
    # maxout
    Bug("maxout", "maxout", "value > best.value", "value >= best.value"),
    Bug("maxout", "maxout", "p < pieces; ++p) {", "p < pieces - 1; ++p) {"),
    Bug("maxout", "maxout_backward", "dy[i / pieces]", "dy[i % (n / pieces)]"),
    Bug("maxout", "maxout_backward", "* scale", "* 2 * scale"),
    # losses
    Bug("losses", "discriminator_bce", "a * softplus_of(s)", "a * softplus_of(-s)"),
    Bug("losses", "discriminator_bce", "(c / m)", "(c / n)"),
    Bug("losses", "discriminator_bce", "- (1 - a) * sigmoid_of(-s)", "- sigmoid_of(-s)"),
    Bug("losses", "discriminator_bce", "half > 0;", "half > 1;"),
    Bug("losses", "discriminator_bce", "__syncthreads();\n        if", "if"),
    Bug("losses", "generator_minimax", "-sigmoid_of(f[i]) / m", "-sigmoid_of(-f[i]) / m"),
    Bug("losses", "generator_non_saturating", "softplus_of(-f[i])", "softplus_of(f[i])"),
    Bug("losses", "mean_probability", "sum += sigmoid_of(s[i])", "sum += s[i]"),
    Bug("losses", "mean_probability", "mean[0] = sum / m", "mean[0] = sum"),
    Bug("losses", "safe_quotient", "fabs(b) <", "b <"),
    Bug("losses", "safe_quotient", "divisor[i] = not_zero(b[i])", "divisor[i] = a[i]"),
    Bug("losses", "safe_quotient", "quotient[i] = a[i] / divisor[i]", "quotient[i] = divisor[i] / a[i]"),
    Bug("losses", "both_bce", "loss_real += real_loss(s[i], a)", "loss_real += softplus_of(-s[i])"),
    Bug("losses", "both_bce", "s[n + i], p", "s[i], p"),
    Bug("losses", "both_bce", "not_zero(p * (c / m))", "p * c / n"),
    Bug("losses", "both_bce", "ds[n + i] = divisor", "ds[n + i] = p"),
    Bug("losses", "both_bce", "-(saturating ? p", "-(!saturating ? p"),
    Bug("losses", "both_bce", "saturating ? -softplus_of(f)", "saturating ? softplus_of(f)"),
    Bug("losses", "both_bce", "over_block(loss_g) / m", "over_block(loss_g) / n"),
    Bug("losses", "both_bce", "over_block(p_real) / n, over_block(p_fake) / m", "over_block(p_fake) / m, over_block(p_real) / n"),
    Bug("losses", "both_bce", "i < 4;", "i < 3;"),
    # a single unit
    Bug("dense", "dense", "sum + b[0]", "sum"),
    Bug("dense", "dense", "i += blockDim.x", "i += 2 * blockDim.x"),
    Bug("dense", "dense", "blockIdx.x * features", "blockIdx.x"),
    # batch normalisation
    Bug("batchnorm", "batchnorm", "q - s * s / n", "q"),
    Bug("batchnorm", "batchnorm", "(chunk.last - chunk.first) * apart", "0 * apart"),
    Bug("batchnorm", "batchnorm", "min(first + height, (at + 1) * run)", "first + height"),
    Bug("batchnorm", "batchnorm", "(run + height - 1) / height", "run / height"),
    Bug("batchnorm", "ghost_batchnorm", "number % each * height", "number * height"),
    Bug("batchnorm", "ghost_batchnorm", "at % parts", "0"),
    Bug("batchnorm", "ghost_batchnorm", "(j / each * parts + part)", "(j / each + part)"),
    Bug("batchnorm", "ghost_batchnorm", "+ j % each", ""),
    Bug("batchnorm", "ghost_batchnorm", "rows / (run * parts)", "rows / run"),
    Bug("batchnorm", "ghost_batchnorm", "mine = rows / parts;\n    double", "mine = rows;\n    double"),
    Bug("batchnorm", "ghost_batchnorm", "chunk_of_part(j, blockIdx.y,", "chunk_of_part(j, 0,"),
    Bug("batchnorm", "ghost_batchnorm_backward", "chunk_of_part(j, part,", "chunk_of_part(j, 0,"),
    Bug("batchnorm", "ghost_batchnorm_backward", "mine = rows / parts;\n    const", "mine = rows;\n    const"),
    Bug("batchnorm", "ghost_batchnorm_backward", "dbeta[c] = all_sums", "dbeta[c] = own_dbeta[c]"),
    Bug("batchnorm", "ghost_batchnorm_backward", "all_products += product", "all_products = product"),
    Bug("batchnorm", "ghost_batchnorm_backward", "mean_of_dv = own_dbeta[own]", "mean_of_dv = own_dbeta[c]"),
    Bug("batchnorm", "update_ghost_statistics", "part * n + i", "i"),
    Bug("batchnorm", "update_ghost_statistics", "part < parts; ++part) {\n            const long",
        "part < 1; ++part) {\n            const long"),
    Bug("batchnorm", "add_gradients", "beta_total[i] += dbeta", "beta_total[i] = dbeta"),
    Bug("batchnorm", "add_gradients", "gamma_total[i] += dgamma", "gamma_total[i] += dbeta"),
    Bug("batchnorm", "batchnorm", "lane = 0;", "lane = 1;"),
    Bug("batchnorm", "batchnorm", "value;\n    __syncthreads();", "value;"),
    Bug("batchnorm", "batchnorm", "__syncthreads();  // until", "// until"),
    Bug("batchnorm", "batchnorm", "variance + eps", "variance"),
    Bug("batchnorm", "batchnorm", "if (c >= channels) return;", ""),
    Bug("batchnorm", "batchnorm_backward", "- mean_of_dv -", "-"),
    Bug("batchnorm", "batchnorm_backward", "own_dgamma[own] / mine", "own_dgamma[own] / (mine - 1)"),
    Bug("batchnorm", "batchnorm_backward", "product * inv_std[at]", "product"),
    Bug("batchnorm", "rectifier", "const double dv = v > 0 ?", "const double dv = dy[at] > 0 ?"),
    Bug("batchnorm", "rectifier", "const real dv = v > 0 ?", "const real dv = x[at] > 0 ?"),
    Bug("batchnorm", "rectifier", "gain, beta)", "gain, 0)"),
    Bug("batchnorm", "conv2d_bias_grad", "sum += x[at]", "sum = x[at]"),
    Bug("batchnorm", "dense_bias_grad", "add ? sums[at] + sum : sum", "sum"),
    Bug("batchnorm", "dense_bias_grad", "add ? sums[at] + sum : sum", "sums[at] + sum"),
    Bug("batchnorm", "conv2d_bias_grad", "at = blockIdx.y * channels + c;\n        sums", "at = c;\n        sums"),
    Bug("batchnorm", "update_running_statistics", "* unbiased", ""),
    Bug("batchnorm", "update_running_statistics", "running_mean[i] = (1 - momentum) *", "running_mean[i] ="),
    # update rules
    Bug("updates", "sgd", "theta[i] -= *lr", "theta[i] += *lr"),
    Bug("updates", "momentum", "*momentum * v[i]", "v[i]"),
    Bug("updates", "rmsprop", "sqrt(square) + eps)", "sqrt(square + eps))"),
    Bug("updates", "adam", "*correction * sqrt", "sqrt"),
    Bug("updates", "adam", "rest2 * d * d", "rest2 * d"),
    Bug("updates", "move_average", "*old * average[i]", "*fresh * average[i]"),
    # random numbers
    Bug("pcg64", "numbers", "+ (low < x.low)", ""),
    Bug("pcg64", "numbers", "low < x.low", "low > x.low"),
    Bug("pcg64", "numbers", "__umul64hi(x.low, y.low) +", ""),
    Bug("pcg64", "numbers", "+ x.high * y.low", ""),
    Bug("pcg64", "numbers", "plus(times(f.a, s), f.c)", "times(f.a, s)"),
    Bug("pcg64", "numbers", "if (k % 2)", ""),
    Bug("pcg64", "numbers", "k > 0;", "k > 1;"),
    Bug("pcg64", "numbers", "moved(f.c, f)}", "plus(f.c, f.c)}"),
    Bug("pcg64", "numbers", "times(f.a, f.a)", "f.a"),
    Bug("pcg64", "numbers", "s.high ^ s.low", "s.high"),
    Bug("pcg64", "numbers", ">> 58", ">> 59"),
    Bug("pcg64", "numbers", "-turn & 63", "64 - turn & 31"),
    Bug("pcg64", "numbers", "0x4385DF649FCCF645", "0x4385DF649FCCF64D"),
    Bug("pcg64", "numbers", "0x2360ED051FC65DA4", "0x2360ED051FC65DA5"),
    Bug("pcg64", "numbers", "{state[2], state[3]}", "{state[3], state[2]}"),
    Bug("pcg64", "numbers", "first / 2 +", ""),
    Bug("pcg64", "numbers", "+ threadIdx.x) * words", "+ threadIdx.x) * (words + 1)"),
    Bug("pcg64", "numbers", ">= first + n) return", ">= n) return"),
    Bug("pcg64", "numbers", "k < words;", "k < words - 1;"),
    Bug("pcg64", "numbers", "s = moved(s, f);\n        const word bits = output(s);",
        "const word bits = output(s);\n        s = moved(s, f);"),
    Bug("pcg64", "numbers", "(unsigned)bits, (unsigned)(bits >> 32)", "(unsigned)(bits >> 32), (unsigned)bits"),
    Bug("pcg64", "numbers", "+ half - first", "+ half"),
    Bug("pcg64", "numbers", "0 <= i && i < n", "i < n"),
    Bug("pcg64", "numbers", "0 <= i && i < n", "0 <= i"),
    Bug("pcg64", "numbers", "(halves[half] >> 8) * 0x1p-24f", "halves[half] * 0x1p-32f"),
    Bug("pcg64", "numbers", "u >= rate", "u > rate"),
    Bug("dropout", "drops", "y[i] = keep[i] * x[i] * scale", "y[i] = keep[i] * x[i]"),
    Bug("dropout", "drops", "keep[i] = u >= rate;\n        y", "keep[i] = u < rate;\n        y"),
    Bug("dropout", "leaky_relu drops", "b[i % channels]", "b[i / channels % channels]"),
    Bug("dropout", "leaky_relu drops", "v : slope * v) * scale", "v : slope * v)"),
    Bug("dropout", "leaky_relu drops", "v > 0 ? v : slope * v", "v"),
    Bug("dropout", "leaky_relu drops", "y[i] > 0 ? d", "dy[i] > 0 ? d"),
    Bug("dropout", "leaky_relu drops", "dy[i] * keep[i] * scale", "dy[i] * keep[i]"),
    Bug("dropout", "leaky_relu drops", "dy[i] * keep[i] * scale", "dy[i] * scale"),
    Bug("dropout", "maxout drops", "(u >= rate) * found.value * scale", "(u >= rate) * found.value"),
    Bug("dropout", "maxout drops", "u >= rate && p == found.piece", "p == found.piece"),
    Bug("dropout", "maxout drops", "winner[i * pieces + p]", "winner[i * pieces]"),
    Bug("maxout", "maxout drops", "dy[i / pieces] * scale", "dy[i / pieces]"),
    Bug("pcg64", "parts", "first += blockIdx.y * apart;", ""),
    Bug("pcg64", "parts", "blockIdx.y * n + i", "i"),
]  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    right = launch.source

    def wrong(file: str) -> str:
        text = right(file)
        assert bug.file != file or bug.right in text
        return text.replace(bug.right, bug.wrong)

    launch._module.cache_clear()
    launch._kernel.cache_clear()
    try:
        with patch.object(launch, "source", wrong):
            yield
    finally:
        launch._module.cache_clear()
        launch._kernel.cache_clear()


def differs(notices: str, seed: int) -> bool:
    """Whether fast and plain differ by more than the tests allow."""
    with np.errstate(all="ignore"):
        if notices in RULES:
            with small_launches(), fast_gpu() as device:
                found = after_updates(RULES[notices], 3, device=device, ready=arrays)
            wrong = [error(*both) for both in zip(found, after_updates(RULES[notices], 3), strict=True)]
            return not max(wrong) < 1e-10
        if notices == "rectifier":
            a, eps = draw("batchnorm_backward", seed)
            given = a["x"], a["dy"], a["gamma"], a["beta"], eps, 0.2
            with small_launches():
                found = in_one(*given)
            return not all(error(*both, floor=1.0) < 1e-10 for both in zip(found, apart(*given), strict=True))
        try:
            with small_launches(), fast_gpu() as device:
                if notices.endswith(" drops"):
                    return not dropped_alike(device, seed, notices.removesuffix(" drops"))
                if notices == "drops":
                    return not drops(device, seed, (5, 3), before=seed)
                if notices == "parts":
                    return not parts_agree(device, seed, parts=2, apart=41 + seed, before=seed)
                if notices == "numbers":
                    return not agree(device, seed, [5, 40, 9, 23, 1], skipped=seed)
                a, extra = draw(notices, seed, np.float32)
                found = on_gpu(device, notices, a, extra, ("C", "rows first")[seed % 2])
        except BadLaunch:  # which names what the kernel did outside its arrays
            return True
        return not max(errors(notices, found, a, extra)) <= ALL_TWINS[notices].tolerance


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.file}: {bug.right.strip()[:40]} -> {bug.wrong[:40]}")
def test_every_bug_is_noticed(bug):
    with planted(bug):
        assert any(differs(bug.notices, seed) for seed in range(15))


@pytest.mark.parametrize("notices", sorted({bug.notices for bug in BUGS}))
def test_right_sources_are_let_pass(notices):
    assert not any(differs(notices, seed) for seed in range(15))
