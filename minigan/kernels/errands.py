"""Products that a worker computes without Python's lock.

A line of Python needs the lock, and a thread that waits for it sleeps: in a virtual machine for tens of microseconds,
as long as a small product takes. A worker that looks out for work (`kernels.awake`) is in compiled code, without the
lock. So each has a letterbox, for addresses and sizes; who finds a product there calls BLAS at once. A product is cut
into as many parts as there are threads, whoever computes them, so its bits do not depend on who was awake.

A letterbox is an array of int64: its state, and then what `_multiply` needs, in the order of the names below.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minigan.kernels.awake import breathe, seconds_a_turn
from minigan.kernels.jit import jit

AWAY, FREE, GIVEN, BEGUN = range(4)  # the state: nobody looks; a worker does; a product is there; it has been begun
STATE, GEMM, DOUBLE, WAY_A, WAY_B, M, N, K, A, STEP_A, B, STEP_B, ADD, C, STEP_C = range(15)
FIELDS = 16  # two lines of a cache, so that no two workers wait for one
ROW_MAJOR, AS_IT_LIES = 101, 111  # of cblas.h


@intrinsic
def _load(_typing, array, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """array[index] as it is in memory, and all that was written before it."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array, types.intp), generate


@intrinsic
def _store(_typing, array, index, value):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """array[index] = value, seen by others after all that was written before."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store_atomic(arguments[2], _place(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@intrinsic
def _swap(_typing, array, index, old, new):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """array[index] = new if it is old, in one step that nobody can come between; whether it was."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature, arguments)
        return builder.extract_value(builder.cmpxchg(place, arguments[2], arguments[3], "acq_rel", "acquire"), 1)

    return types.boolean(array, types.intp, types.int64, types.int64), generate


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], array, [arguments[1]])


def _gemm_of(number: Any, kind: Any) -> Any:
    """cblas_?gemm, whose address is box[GEMM], for this kind of numbers."""

    @intrinsic
    def gemm(_typing, box):  # type: ignore[no-untyped-def]  # noqa: ARG001
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            def field(index):  # type: ignore[no-untyped-def]
                where = context.get_constant(types.intp, index)
                return builder.load(_place(context, builder, signature, (arguments[0], where)))

            size, word, address = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
            matrix = [address, size]
            kinds = [*[word] * 3, *[size] * 3, number, *matrix, *matrix, number, *matrix]
            function = builder.inttoptr(field(GEMM), ir.FunctionType(ir.VoidType(), kinds).as_pointer())
            ways = [ir.Constant(word, ROW_MAJOR), *(builder.trunc(field(index), word) for index in (WAY_A, WAY_B))]
            a, b, c = (builder.inttoptr(field(index), address) for index in (A, B, C))
            sizes = [field(index) for index in (M, N, K)]
            one, add = ir.Constant(number, 1.0), builder.sitofp(field(ADD), number)
            last = [one, a, field(STEP_A), b, field(STEP_B), add, c, field(STEP_C)]
            builder.call(function, [*ways, *sizes, *last])
            return context.get_dummy_value()

        return types.void(kind), generate

    return gemm


_BOX = types.Array(types.int64, 1, "C")
_sgemm, _dgemm = _gemm_of(ir.FloatType(), _BOX), _gemm_of(ir.DoubleType(), _BOX)


@jit()
def _multiply(box):  # type: ignore[no-untyped-def]
    if box[DOUBLE]:
        _dgemm(box)
    else:
        _sgemm(box)


@jit()
def _cut(job, part, parts, columns, box):  # type: ignore[no-untyped-def]
    """Put the part-th of so many parts of a product into a box: some of the columns of C, or some of its rows."""
    size = 8 if job[DOUBLE] else 4
    axis = N if columns else M
    first, last = job[axis] * part // parts, job[axis] * (part + 1) // parts
    for field in range(GEMM, STEP_C + 1):
        box[field] = job[field]
    box[axis] = last - first
    if columns:
        box[B] += first * size * (1 if job[WAY_B] == AS_IT_LIES else job[STEP_B])
        box[C] += first * size
    else:
        box[A] += first * size * (job[STEP_A] if job[WAY_A] == AS_IT_LIES else 1)
        box[C] += first * size * job[STEP_C]


@jit()
def together(job, columns, parts, boxes, claim):  # type: ignore[no-untyped-def]
    """Compute a product with those who look out, the rest alone; returns how many are away when it is done.

    claim: [1] while somebody puts products into the boxes; who computes beside that one does without. (It is claimed
    here and not by a lock of Python's: in compiled code no Ctrl-C comes between.)
    """
    own, taken, away = np.empty(FIELDS, np.int64), np.zeros(parts, np.bool_), 0
    claimed = _swap(claim, 0, 0, 1)
    asked = min(parts, len(boxes) + 1) if claimed else 1
    for part in range(1, asked):
        if _load(boxes[part - 1], STATE) == FREE:
            _cut(job, part, parts, columns, boxes[part - 1])
            taken[part] = _swap(boxes[part - 1], STATE, FREE, GIVEN)
    for part in range(parts):
        if not taken[part]:
            _cut(job, part, parts, columns, own)
            _multiply(own)
    for part in range(1, parts):
        if taken[part] and _swap(boxes[part - 1], STATE, GIVEN, FREE):  # somebody else has that worker's processor
            _cut(job, part, parts, columns, own)
            _multiply(own)
        while taken[part] and _load(boxes[part - 1], STATE) == BEGUN:
            breathe()
    for part in range(1, asked):  # who has come meanwhile must not be woken: it would leave its box for nothing
        away += _load(boxes[part - 1], STATE) == AWAY
    if claimed:
        _store(claim, 0, 0)
    return away


@jit()
def _do(box):  # type: ignore[no-untyped-def]
    """Compute the product that is in a box, if there is one; whether there was."""
    if _load(box, STATE) != GIVEN or not _swap(box, STATE, GIVEN, BEGUN):
        return False
    _multiply(box)
    _store(box, STATE, FREE)
    return True


@jit()
def look_out(counter, seen, turns, more, box):  # type: ignore[no-untyped-def]
    """As `awake.watch`, with a letterbox to look into: each product found there begins the time anew."""
    turn, moved = 0, False
    _store(box, STATE, FREE)
    while turn < turns and not moved:
        if _do(box):
            turn = 0
        moved = _load(counter, 0) != seen
        breathe()
        turn += 1
    while not _swap(box, STATE, FREE, AWAY):  # given at this very moment
        _do(box)
    for _ in range(more if moved else 0):
        breathe()
    return moved


def watch(box: np.ndarray, counter: np.ndarray, seen: int, patience: float, after: float) -> bool:
    """`look_out` for so many seconds."""
    turn = seconds_a_turn()
    return bool(look_out(counter, seen, int(patience / turn), int(after / turn), box))
