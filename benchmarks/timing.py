"""Seconds of one call, where the host starts each, or of those that a GPU plays from a graph."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from minigan.backend import Device

ENOUGH = 0.02  # seconds that one measurement takes at least
IN_A_GRAPH = 20  # calls

Play = Callable[[], object]


class Place(NamedTuple):
    """Where something is computed, by which kernels, and how it is started.

    stream: of a GPU, for calls that are captured into a graph, as rounds are; without it the host starts each.
    """

    device: Device
    kernels: Callable[[], AbstractContextManager[None]]
    stream: Any = None


def timer(call: Play, place: Place) -> Callable[[], float]:
    """What measures the mean seconds of a call, over as many as take long enough; it warms up here.

    A GPU is faster with a small array than the host with a launch, so what the host starts takes as long as the host
    needs, and only a graph shows what the GPU does. RuntimeError if CUDA refuses to capture the call.
    """
    play, wait, at_once = call, place.device.synchronize, 1
    if place.stream is not None:
        wait = place.stream.synchronize  # the device's own stream waits for no other
        play, at_once = Replay.of(call, place.device.xp.cuda, place.stream).launch, IN_A_GRAPH

    def seconds(turns: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(turns):
            play()
        wait()
        return (time.perf_counter() - began) / (turns * at_once)

    seconds(1)  # compiles, allocates
    turns = max(1, math.ceil(ENOUGH / (seconds(1) * at_once)))
    return lambda: seconds(turns)


class Replay(NamedTuple):
    """`IN_A_GRAPH` calls, launched at once."""

    graph: Any
    stream: Any
    pool: Any  # whose memory the graph uses, so it lives as long

    @classmethod
    def of(cls, call: Play, cuda: Any, stream: Any) -> "Replay":
        pool = cuda.MemoryPool()
        cuda.Device().synchronize()  # what lies on the device has come by another stream
        with stream, cuda.using_allocator(pool.malloc):
            for _ in range(2):  # loads kernels; then finds its memory
                call()
            stream.begin_capture()
            try:
                for _ in range(IN_A_GRAPH):
                    call()
            except BaseException:
                with suppress(RuntimeError):
                    stream.end_capture()
                raise
            return cls(stream.end_capture(), stream, pool)

    def launch(self) -> None:
        self.graph.launch(self.stream)
