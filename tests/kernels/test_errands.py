"""Products that workers compute without Python's lock: right in every layout, and the same whoever computes them."""

import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.kernels import blas, dense, workers
from tests.kernels.test_kernel_blas import laid_out, layouts, sizes
from tests.strategies import normal, seeds

errands = pytest.importorskip("minigan.kernels.errands", reason="numba is not installed", exc_type=ImportError)


@pytest.fixture
def pair():
    """Two workers with a letterbox between them, if the processors suffice and NumPy has brought its library."""
    with ops.fast_kernels(2):
        if not (workers.run_errands() and blas._address("f")):
            pytest.skip("there is one processor, or NumPy computes by another library")
        yield


def awake():
    """Wait until the worker looks out, for which it may have to be woken."""
    until = time.monotonic() + 20
    while workers._boxes[0, errands.STATE] != errands.FREE:
        assert time.monotonic() < until
        workers.share(lambda *_: None, 2)
        time.sleep(1e-5)


def asleep():
    until = time.monotonic() + 20
    while workers._boxes[0, errands.STATE] != errands.AWAY:
        assert time.monotonic() < until
        time.sleep(workers.PATIENCE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("pair")
@given(sizes=sizes, layouts=layouts, seed=seeds, columns=st.booleans(), add=st.booleans(), looks=st.booleans())
def test_a_product_is_right_in_every_layout(dtype, sizes, layouts, seed, columns, add, looks):
    m, k, n = sizes
    a, b, there = (array.astype(dtype) for array in (normal(seed, m, k), normal(seed + 1, k, n), normal(seed, m, n)))
    left, right, out = laid_out(a, layouts[0]), laid_out(b, layouts[1]), laid_out(there, "part of rows")
    around = out.base.copy()
    if looks:
        awake()
    known = blas._layout(left)[0] and blas._layout(right)[0]  # not every other number
    assert blas.multiply(left, right, out, columns, add) == bool(known)
    expected = (there if add or not known else 0) + (a @ b if known else 0)
    assert abs(out - expected).max() <= 8 * k * np.finfo(dtype).eps * (1 + abs(expected).max())
    out[...] = there
    np.testing.assert_array_equal(out.base, around)  # and nothing was written beside it


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.usefixtures("pair")
def test_whoever_computes_the_parts_the_bits_are_the_same(columns):
    a, b = normal(0, 65, 131).astype(np.float32), normal(1, 131, 77).astype(np.float32)
    together, alone, beside = (np.empty((65, 77), np.float32) for _ in range(3))
    awake()
    blas.multiply(a, b, together, columns)
    asleep()
    blas.multiply(a, b, alone, columns)
    awake()
    workers._claim[0] = 1  # as if another thread had the workers
    blas.multiply(a, b, beside, columns)
    assert workers._claim[0] == 1
    workers._claim[0] = 0
    assert np.array_equal(together, alone)
    assert np.array_equal(together, beside)


@pytest.mark.usefixtures("pair")
def test_a_worker_that_was_asleep_is_woken_for_the_next_one(monkeypatch):
    a, b, out = np.ones((8, 9)), np.ones((9, 10)), np.empty((8, 10))
    asleep()
    monkeypatch.setattr(workers, "PATIENCE", 10.0)
    blas.multiply(a, b, out, columns=True)
    until = time.monotonic() + 20
    while workers._boxes[0, errands.STATE] != errands.FREE:
        assert time.monotonic() < until
        time.sleep(1e-4)
    assert (out == 9).all()
    workers.share(lambda *_: None, 2)  # it leaves the box for a part, or patience would keep it here


def job_of(a, b, out):
    """The product as it is handed over."""
    jobs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas, "run_errands", lambda: True)
        patch.setattr(blas, "share_product", lambda job, *_: jobs.append(job))
        if not blas.multiply(a, b, out, columns=True):
            pytest.skip("NumPy computes by another library")
    return jobs[0]


def test_what_a_worker_does_not_begin_with_is_taken_back():
    """Another program may have its processor: the box says that it looks, and nobody does."""
    boxes, claim = np.zeros((1, errands.FIELDS), np.int64), np.zeros(1, np.int64)
    boxes[0, errands.STATE] = errands.FREE
    a, b, out = np.ones((8, 9)), np.ones((9, 10)), np.empty((8, 10))
    assert errands.together(job_of(a, b, out), True, 2, boxes, claim) == 0
    assert (out == 9).all()
    assert boxes[0, errands.STATE] == errands.FREE
    assert claim[0] == 0


def test_only_who_is_still_away_at_the_end_has_to_be_woken():
    """A worker that has come meanwhile would leave its box for nothing, and be away for the next product, too."""
    boxes, claim = np.zeros((1, errands.FIELDS), np.int64), np.zeros(1, np.int64)
    boxes[0, errands.STATE] = errands.AWAY
    a, b, out = np.ones((2000, 2000)), np.ones((2000, 2000)), np.empty((2000, 2000))  # half a second
    job = job_of(a, b, out)
    assert errands.together(job_of(a[:3, :3], b[:3, :3], out[:3, :3]), True, 2, boxes, claim) == 1
    begun = threading.Event()

    def come():
        begun.set()
        time.sleep(0.02)
        boxes[0, errands.STATE] = errands.FREE

    worker = threading.Thread(target=come)
    worker.start()
    assert begun.wait(timeout=20)
    assert errands.together(job, True, 2, boxes, claim) == 0
    worker.join(timeout=20)
    assert (out == 2000).all()


@pytest.mark.usefixtures("pair")
def test_what_does_not_fit_or_is_of_other_numbers_is_left_to_numpy():
    ones = np.ones((4, 4))
    assert not blas.multiply(ones, np.ones((5, 4)), ones.copy(), columns=True)
    assert not blas.multiply(ones.astype(int), ones.astype(int), np.empty((4, 4), int), columns=True)
    assert not blas.multiply(ones, ones.astype(np.float32), ones.copy(), columns=True)
    assert not blas.multiply(ones, ones, np.empty((4, 8))[:, ::2], columns=True)


@pytest.mark.usefixtures("pair")
def test_threads_side_by_side_get_their_own_products():
    matrices = [(normal(seed, 40, 50), normal(seed + 9, 50, 60)) for seed in range(4)]
    wrong = []

    def work(a, b):
        out = np.empty((40, 60))
        for _ in range(200):
            blas.multiply(a, b, out, columns=False)
            if abs(out - a @ b).max() > 1e-12:
                wrong.append(out)

    threads = [threading.Thread(target=work, args=pair) for pair in matrices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.usefixtures("pair")
def test_a_worker_itself_gives_no_errands():
    both = threading.Barrier(2)

    def asked(*_):
        both.wait(timeout=20)  # each has one part
        return workers.run_errands()

    assert sorted(workers.share(asked, 2)) == [False, True]


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("bias", [None, np.arange(300, dtype=np.float32)])
def test_layers_give_their_products_away_and_get_the_same(bias, monkeypatch):
    monkeypatch.setattr(dense, "ERRAND", 1)
    given_away = []
    real = blas.share_product
    monkeypatch.setattr(
        blas, "share_product", lambda job, columns, most: given_away.append(columns) or real(job, columns, most)
    )
    x, w, dy = (
        normal(seed, *shape).astype(np.float32) for seed, shape in enumerate(((50, 200), (200, 300), (50, 300)))
    )
    y, cache = dense.dense(x, w, bias)
    dx, dw, total = dense.dense_input_grad(dy, w), dense.dense_weight_grad(dy, cache), np.ones((200, 300), np.float32)
    dense.dense_weight_grad(dy, cache, total)
    assert given_away == [True, True, False, False]
    for found, expected in (
        (y, x @ w + (0 if bias is None else bias)),
        (dx, dy @ w.T),
        (dw, x.T @ dy),
        (total, x.T @ dy + 1),
    ):
        assert abs(found - expected).max() < 1e-3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("pair")
def test_a_forked_process_has_nobody_to_give_to(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1.0)  # the box says that somebody looks, who is not in the child
    awake()
    child = os.fork()
    if child == 0:
        out = np.empty((8, 10))
        os._exit(0 if blas.multiply(np.ones((8, 9)), np.ones((9, 10)), out, columns=True) and (out == 9).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize(("dtype", "size"), [(0, 4), (1, 8)])
def test_a_product_is_cut_into_parts_that_meet(part, dtype, size):
    job, box = np.arange(errands.FIELDS) * 1000, np.zeros(errands.FIELDS, np.int64)
    job[[errands.DOUBLE, errands.WAY_A, errands.WAY_B]] = dtype, 111, 112
    job[[errands.M, errands.N]] = 7, 8
    cut = errands._cut.py_func
    cut(job, part, 3, True, box)
    first, last = 8 * part // 3, 8 * (part + 1) // 3
    moved = {errands.N: last - first, errands.B: job[errands.B] + first * size * job[errands.STEP_B]}
    moved[errands.C] = job[errands.C] + first * size
    assert [box[i] for i in range(1, 15)] == [moved.get(i, job[i]) for i in range(1, 15)]
    cut(job, part, 3, False, box)
    first, last = 7 * part // 3, 7 * (part + 1) // 3
    moved = {errands.M: last - first, errands.A: job[errands.A] + first * size * job[errands.STEP_A]}
    moved[errands.C] = job[errands.C] + first * size * job[errands.STEP_C]
    assert [box[i] for i in range(1, 15)] == [moved.get(i, job[i]) for i in range(1, 15)]
