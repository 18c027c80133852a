"""Each operation alone: which there are, equal results everywhere, the table. No test asserts a time."""

import json
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks import layers, timing
from benchmarks.layers import ON_GPU, best_of, contexts, first_array, limits_of, measure
from benchmarks.operations import TOLERANCE, drawing, tasks, update
from benchmarks.rounds import chosen
from minigan import ops
from minigan.backend import GPUUnavailable
from minigan.cuda import cublas, launch
from minigan.errors import UsageError, UserError
from minigan.optim import Adam
from minigan.recipes.cost import cost
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

SMALL = ["dcgan-64", "--set", "width=2", "latent=3", "size=16,16", "--batch-size", "2", "--blocks", "2",
         "--threads", "1"]  # fmt: skip
PRIMITIVES = {"conv2d", "conv2d_input_grad", "conv2d_weight_grad", "dense", "dense_input_grad", "dense_weight_grad",
              "batchnorm_leaky", "batchnorm_leaky_backward", "leaky_relu", "leaky_relu_backward", "tanh",
              "tanh_backward", "dropout", "dropout_backward", "Adam"}  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH", 1e-4)
    monkeypatch.setattr(timing, "IN_A_GRAPH", 1)
    monkeypatch.setattr(layers, "SETTLE", 0.0)
    monkeypatch.setattr(layers, "COPIED", (1 << 16,))
    monkeypatch.setattr(layers, "SIDES", (64,))


def test_all_primitives_are_there_and_each_case_once() -> None:
    found = list(tasks(chosen(["dcgan-64", "mlp-mnist"], ["width=2"], 3)))
    assert {task.name for task in found} == PRIMITIVES
    both = {name for kind in ("maxout", "dropout", "sigmoid") for name in (kind, f"{kind}_backward")}
    assert {task.name for task in tasks(chosen(["mlp-2014"], [], 3))} >= both | {"Momentum"}
    assert {task.name for task in tasks(chosen(["dcgan-upsample"], [], 3))} >= {"upsample_nearest", "conv2d_bias_grad"}
    assert len({(task.name, task.shapes) for task in found}) == len(found)


def test_the_work_of_a_net_is_what_its_recipe_counts() -> None:
    (recipe,) = chosen(["dcgan-28"], [], 4)
    macs = {name: sum(t.macs for t in tasks([recipe]) if t.name == name) for name in ("conv2d", "dense")}
    assert sum(macs.values()) == 4 * sum(cost(recipe, (28, 28, 1)).image_macs)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dcgan-64", ["width=2", "latent=3", "size=16,32"]), ("mlp-mnist", ["hidden_g=5,4", "hidden_d=4,5"]),
        ("mlp-2014", ["hidden_g=5", "hidden_d=4"]), ("dcgan-upsample", ["width=2", "latent=3", "size=16,20"]),
    ],
)  # fmt: skip
def test_they_compute_the_same_everywhere(name, settings, strict) -> None:
    """With plain and fast kernels, and with CuPy's stand-in without a single wait."""
    places = contexts(1)
    assert list(places) == ["plain", "fast", "CuPy", "fused"]
    for task in tasks(chosen([name], settings, 8)):  # of two samples BatchNorm's gradient is nearly 0
        assert [len(times) for times in measure(task, places, 2).values()] == [2, 2, 2, 2]
        for name in ON_GPU:
            with places[name].kernels():
                call = task.prepare(drawing(strict))
                with forbid_synchronisation(), forbid_dtype("float64"):
                    call()


def test_places_on_a_gpu_compute_differently(strict) -> None:
    """Products by CuPy's cuBLAS or by our own calls of it."""
    places, used = contexts(1), {}
    for name in ON_GPU:
        with places[name].kernels(), patch.object(cublas, "_launch") as launch:
            ops.dense(strict.put(np.ones((2, 3), np.float32)), strict.put(np.ones((3, 4), np.float32)))
        used[name] = launch.called
    assert used == {"CuPy": False, "fused": True}


def test_both_ways_of_a_convolution_in_tf32_are_timed(strict, capsys, monkeypatch) -> None:
    """In every place the same convolutions, by other kernels: bands are cut but where windows are looked up."""
    monkeypatch.setattr(layers, "select_device", lambda _: strict)
    arguments = ["--tf32", "--blocks", "1", "--batch-size", "2", "--set", "width=16", "size=16,16"]
    launched, kernel = [], launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    assert layers.main(["dcgan-64", *arguments]) == 0
    assert {"cut", "add_up", "forward", "input_grad", "weight_grad"} <= set(launched)
    told = capsys.readouterr().out
    assert all(word in told for word in ("fused: ms", "bands: ms", "looked up: ms", "conv2d_weight_grad", "TF32"))
    assert "batchnorm" not in told


def test_a_gpu_plays_fused_kernels_from_a_graph_and_the_host_starts_plain_operations(strict) -> None:
    """Twice to warm up and once for each call in the graph; after that nothing but launches of it."""
    places, calls = contexts(1), []
    x = strict.put(np.ones((2, 3), np.float32))

    def call() -> None:
        calls.append(ops.relu(x))

    for name, first, more in [("fused", 2 + timing.IN_A_GRAPH, 0), ("CuPy", 2, 1)]:
        calls.clear()
        with places[name].kernels():
            run = timing.timer(call, places[name])
            assert len(calls) == first
            assert run() > 0
        assert (len(calls) > first) == bool(more)


def test_the_clock_stops_when_the_graph_s_own_stream_has_ended(strict, monkeypatch) -> None:
    place, waited = contexts(1)["fused"], []
    monkeypatch.setattr(type(place.stream), "synchronize", lambda stream: waited.append(stream))
    x = strict.put(np.ones((2, 3), np.float32))
    with place.kernels():
        run = timing.timer(lambda: ops.relu(x), place)
        waited.clear()
        run()
    assert waited == [place.stream] * 2


@pytest.mark.gpu
def test_a_gpu_has_computed_what_has_been_timed(gpu) -> None:
    place = contexts(1, without_cpu=True)["fused"]
    x = gpu.xp.ones((2000, 2000), np.float32)
    with place.kernels():
        run = timing.timer(lambda: ops.dense(x, x), place)
        run()
        assert place.stream.done


def test_a_call_that_cannot_be_captured_ends_the_capture(strict) -> None:
    place = contexts(1)["fused"]
    with pytest.raises(RuntimeError):
        timing.timer(lambda: strict.put(np.ones(3)).get(), place)
    with place.stream:
        assert not place.stream.is_capturing()


@pytest.mark.parametrize("words", [["--without-cpu"], ["--tf32"]])
def test_without_a_gpu_and_without_the_cpu_there_is_nothing_to_time(words, monkeypatch) -> None:
    def none(_: str) -> None:
        raise GPUUnavailable("no GPU")

    monkeypatch.setattr(layers, "select_device", none)
    with pytest.raises(UsageError, match="no GPU"):
        layers.main([*SMALL, *words])


@pytest.mark.usefixtures("strict")
def test_the_cpu_is_left_out_on_request() -> None:
    assert list(contexts(1, without_cpu=True)) == list(ON_GPU)


def test_the_limit_is_the_better_of_both_kernels_of_a_processor() -> None:
    limits = {"plain": 1.0, "fast": 2.0, "CuPy": 40.0, "fused": 30.0}
    assert [best_of(limits, name) for name in limits] == [2.0, 2.0, 40.0, 40.0]
    assert best_of({"plain": 2.0, "fast": 1.0}, "fast") == 2.0


def test_results_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter((1.0, 1.0 + 2 * TOLERANCE))
    monkeypatch.setattr(layers, "first_array", lambda _: np.array([next(made)]))
    task = next(iter(tasks(chosen(["mlp-mnist"], [], 2))))
    with pytest.raises(UserError, match=r"fast differs from plain by 2\.0e-04"):
        measure(task, contexts(1), 1)


def test_adam_s_moments_stay_numbers_however_often_it_is_called() -> None:
    made = []

    def draw(shape):
        made.append(np.ones(shape, np.float32))
        return made[-1]

    call = update(Adam(lr=2e-4, beta1=0.5), 3).prepare(draw)
    for _ in range(300):
        before = made[0].copy()
        call()
    assert (before - made[0] > 1e-5).all()  # of a gradient that stays zero: nothing moves any more


def test_of_a_result_with_a_cache_the_result_is_compared() -> None:
    assert first_array((np.ones(2), "cache")).sum() == 2
    assert first_array(None).size == 0


def test_limits_are_of_products_and_copies() -> None:
    limits = limits_of(contexts(1)["plain"], 1)
    assert limits.keys() == {"gflops", "gbytes"}
    assert min(limits.values()) > 0


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys) -> None:
    assert layers.main([*SMALL, "--json", str(tmp_path / "layers.json")]) == 0
    printed = capsys.readouterr().out
    document = json.loads((tmp_path / "layers.json").read_text())
    assert document["limits"].keys() >= {"plain", "fast"}
    for result in document["results"]:
        assert f"{result['task']}: {result['shapes']}" in printed
        assert all(times["count"] == 2 for times in result["times"].values())
