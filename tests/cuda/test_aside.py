"""Gradients of parameters on a second stream: nothing is read too early, nothing is freed too early."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest

from minigan import ops
from minigan.cuda import aside as module
from minigan.cuda.aside import beside
from minigan.cuda.cublas import CublasError
from minigan.functional.batchnorm import BatchNormCache
from minigan.functional.patches import Geometry
from minigan.games.player import Player
from minigan.runs.captured import CapturedRounds
from tests import strict_graph
from tests.cuda.gpu import fast_gpu
from tests.cuda.test_fused_rounds import RECIPES
from tests.planted_bugs import Bug, planted
from tests.runs.test_captured import play, players, same
from tests.strict_graph import CUDARuntimeError

pytestmark = pytest.mark.emulated


def add_to_weights(xp, x, dy):
    ops.dense_weight_grad(dy, ops.dense(x, xp.ones((3, 2), "f"))[1], xp.zeros((3, 2), "f"))
    return x, dy


def add_to_kernel(xp, x, dy):
    images, upstream = x.reshape(5, 1, 1, 3), dy.reshape(5, 1, 1, 2)
    ops.conv2d_weight_grad(images, upstream, (1, 1), Geometry(), xp.zeros((1, 1, 3, 2), "f"))
    return images, upstream


def add_to_kernel_of_what_was_seen(xp, x, dy):
    (_, seen), upstream = _convolved(xp, x), dy.reshape(5, 1, 1, 2)
    ops.conv2d_weight_grad(seen, upstream, (1, 1), Geometry(), xp.zeros((1, 1, 3, 2), "f"))
    return *seen, upstream


def _convolved(xp, x):
    return ops.conv2d_and_seen(x.reshape(5, 1, 1, 3), xp.ones((1, 1, 3, 2), "f"), Geometry())


def add_to_bias(xp, _, dy):
    ops.dense_bias_grad(dy, xp.zeros(2, "f"))
    return (dy,)


def add_to_gains(xp, x, dy):
    ops.add_gradients(x[0], dy.reshape(-1)[:3], xp.zeros(3, "f"), xp.zeros(3, "f"))
    return x, dy


def move_statistics(xp, x, dy):
    cache = BatchNormCache(None, None, x[0], dy.reshape(-1)[:3], 5)
    ops.update_running_statistics(xp.zeros(3, "f"), xp.zeros(3, "f"), cache, 0.1)
    return x, dy


def mean_opinion(_xp, _x, dy):
    ops.mean_probability(dy)
    return (dy,)


@pytest.mark.parametrize(
    "operation",
    [
        add_to_weights,
        add_to_kernel,
        add_to_kernel_of_what_was_seen,
        add_to_bias,
        add_to_gains,
        move_statistics,
        mean_opinion,
    ],
)
def test_what_goes_aside_is_launched_there_and_what_it_reads_is_kept_until_it_is_waited_for(operation, monkeypatch):
    with fast_gpu() as device:
        xp, streams, marks = device.xp, [], []
        stream, second = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
        record = strict_graph.record
        monkeypatch.setattr(
            strict_graph, "record", lambda call: streams.append(xp.cuda.get_current_stream()) or record(call)
        )
        monkeypatch.setattr(strict_graph.Stream, "wait_event", lambda self, event: marks.append((self, event.stream)))
        with stream, beside(xp.cuda, second):
            read = operation(xp, xp.ones((5, 3), "f"), xp.ones((5, 2), "f"))
            assert streams.pop() is second
            assert marks == [(second, stream)]
            kept = module._second._read
            assert all(any(xp.shares_memory(array, other) for other in kept) for array in read)
            ops.gathered(read[0])
            assert (marks[1:], kept) == ([(stream, second)], [])
            ops.gathered(read[0])
            assert len(marks) == 2


def test_without_a_total_the_gradient_is_there_at_once():
    with fast_gpu() as device:
        xp = device.xp
        stream, second = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
        pool = xp.cuda.MemoryPool()
        x = xp.ones((5, 3), "f")
        ops.dense(x, x.T)  # cuBLAS gets its workspace
        with stream, xp.cuda.using_allocator(pool.malloc):
            ops.dense(x, x.T)
            stream.begin_capture()
            with beside(xp.cuda, second):
                dw, db = ops.dense_weight_grad(x, ops.dense(x, x.T)[1]), ops.dense_bias_grad(x)
                total = db + dw[0]
            graph = stream.end_capture()
        graph.launch()
        assert total.get().tolist() == [10, 10, 10]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "bug",
    [
        Bug("an update before its gradients", Player.update, "ops.gathered(self.grads.flat)", "self.grads.flat"),
        Bug("the first stream does not wait", module._Second.join, "current.wait_event(", "("),
        Bug("the second stream does not wait", module._Second.turn.__wrapped__, "self._stream.wait_event(", "("),
        Bug("a mark of the other stream", module._Second.join, "self._mark(self._stream)", "self._mark(current)"),
    ],
    ids=lambda bug: bug.story,
)  # fmt: skip
def test_a_planted_bug_is_caught(bug, name, strict, monkeypatch):
    """By other bits, or by a refusal: a stream that nobody waits for, one that does not take part."""
    monkeypatch.setattr(CapturedRounds, "_try_to_record", _without_a_second_try)
    right, wrong = players(RECIPES[name], strict), players(RECIPES[name], strict)
    with ops.fast_kernels(1):
        play(right, 4)
        try:
            with planted(bug), np.errstate(all="ignore"):
                play(wrong, 4)
        except (CUDARuntimeError, CublasError, AssertionError):
            return
    assert not same(right, wrong)


def _without_a_second_try(run):
    with run.feed.device.xp.cuda.using_allocator(run._pool.malloc):
        run._graph = run._recorded()
    return ""


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("refused", [0, 7, "the last", "in the end", "by cuBLAS"])
def test_where_two_streams_are_refused_one_is_captured(refused, name, strict, monkeypatch):
    """Wherever in the round that is: nothing of the first try is left."""
    one, two, other = (players(RECIPES[name], strict) for _ in range(3))
    with ops.fast_kernels(1):
        play(two, 4)
        with refusing(refused, other, monkeypatch):
            play(one, 4)
    assert (one.complaint(), one._second) == ("", None)
    assert one._graph.launches == two._graph.launches == 2
    assert same(one, two)


@contextmanager
def refusing(which, other, monkeypatch):
    """While two streams are captured, one wait of one for the other is refused, or the end."""
    waits, wait_event, end_capture = [], strict_graph.Stream.wait_event, strict_graph.Stream.end_capture
    number = {"the last": waits_of_a_round(other) - 1, "by cuBLAS": 3}.get(which, which)

    def wait(self, event):
        if strict_graph._capture is not None:
            waits.append(self)
            if len(waits) - 1 == number:
                raise (CublasError if which == "by cuBLAS" else CUDARuntimeError)("not with two streams")
        wait_event(self, event)

    def end(self):
        graph = end_capture(self)
        if which == "in the end" and graph.late:
            raise CUDARuntimeError("not with two streams")
        return graph

    with monkeypatch.context() as patch:
        patch.setattr(strict_graph.Stream, "wait_event", wait)
        patch.setattr(strict_graph.Stream, "end_capture", end)
        yield
    assert len(waits) > (number if isinstance(number, int) else 0)


def waits_of_a_round(run):
    """Of one stream for the other."""
    waits, wait_event = [], strict_graph.Stream.wait_event
    with patch.object(strict_graph.Stream, "wait_event", lambda *of: waits.append(of) or wait_event(*of)), run:
        run.play(watched=True)
    return len(waits)
