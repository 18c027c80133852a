"""Update rules in one pass change what the plain rules change, and leave no gradient behind."""

from unittest.mock import patch

import numpy as np
import pytest

from minigan import ops
from minigan.kernels import updates
from minigan.kernels.loops import COMPILED
from minigan.optim import SGD
from tests.kernels.test_kernel_bugs import interpreted
from tests.kernels.twins import fast, loops_there_are
from tests.optim.updates import LR, RULES, Backwards, after_updates
from tests.planted_bugs import Bug, planted

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
all_loops = pytest.mark.parametrize("loops", loops_there_are().values(), ids=loops_there_are())


def agree(rule, dtype=np.float64):
    """Whether five updates are those of the plain rule, within the rounding of so many operations."""
    found = after_updates(rule, 5, dtype)
    with patch.dict("minigan.ops._host_twins", clear=True):
        expected = after_updates(rule, 5)
    assert all(ours.dtype == dtype for ours in found)
    return all(np.allclose(a, b, rtol=0, atol=50 * np.finfo(dtype).eps) for a, b in zip(found, expected, strict=True))


@every_rule
@all_loops
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_as_plain(rule, loops, dtype, threads):
    with fast(threads, loops):
        assert agree(rule, dtype)


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there are no compiled loops")
def test_known_rules_have_a_loop(monkeypatch):
    monkeypatch.setattr(updates, "_by_pieces", lambda *_: 1 / 0)
    with fast(2):
        for name in ("sgd", "momentum", "adam"):
            after_updates(RULES[name], 1)
        with pytest.raises(ZeroDivisionError):
            after_updates(RULES["rmsprop"], 1)


def test_a_rule_of_one_s_own_is_followed():
    with fast(2):
        assert agree(Backwards(LR))
        assert not np.array_equal(after_updates(Backwards(LR), 3)[0], after_updates(SGD(LR), 3)[0])


def test_a_rule_is_not_taken_for_ours_because_of_its_name():
    """Neither one that is derived from ours under the same name."""
    namesake = type("SGD", (Backwards,), {})
    with fast(2):
        assert agree(namesake(LR))
        assert not np.array_equal(after_updates(namesake(LR), 3)[0], after_updates(SGD(LR), 3)[0])


def test_vectors_of_another_length_are_refused():
    def change(theta, g):
        theta += g

    with fast(2):
        with pytest.raises(ValueError, match=r"a vector must have the shape \(3,\), got \(2,\)"):
            ops.in_pieces(np.ones(3), np.ones(2), change=change)
        with pytest.raises(ValueError, match=r"theta must have the shape \(3,\), got \(4,\)"):
            ops.move_average(np.ones(3), np.ones(4), (0.5, 0.5))


def test_moments_are_told_apart_by_name():
    """A checkpoint may bring them in another order."""
    rule = RULES["adam"]
    with fast(1), patch.object(type(rule), "moment_names", ("v", "m")):
        assert agree(rule)


BUGS = [
    ("momentum", "- lr * g[i]", "+ lr * g[i]"),
    ("momentum", "g[i] = 0", "pass"),
    ("adam", "rest1 * g[i]", "g[i]"),
    ("adam", "g[i] * g[i]", "g[i]"),
    ("adam", "correction * ", ""),
    ("adam", " + eps", ""),
    ("adam", "g[i] = 0", "pass"),
    ("sgd", "lr * g[i]", "g[i]"),
]


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there are no compiled loops")
@pytest.mark.parametrize(
    ("name", "right", "wrong"), BUGS, ids=[f"{name}: {wrong or right}" for name, right, wrong in BUGS]
)
def test_a_bug_planted_in_a_loop_is_caught(name, right, wrong):
    with (
        interpreted() as loops,
        planted(Bug("", vars(loops)[name], right, wrong)),
        fast(1, loops),
        np.errstate(all="ignore"),
    ):
        assert not agree(RULES[name])
