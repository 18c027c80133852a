"""The comparison of processors: every side is there, equal ones pass, and a small fault on one of them is seen."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks import equivalence
from benchmarks.equivalence import Mean, Row, cosine, distance, last_places, sides, smoothed
from minigan import nn, ops
from minigan.backend import GPUUnavailable
from minigan.errors import UsageError
from minigan.gradcheck import TOLERANCE, check_layer
from tests import strict_graph

WAYS = ("CuPy", "fused", "captured")

SMALL = ["dcgan-28", "mlp-mnist", "--batch-size", "4", "--rounds", "3",
         "--set", "width=4", "width_d=3", "units=16", "hidden_g=8,8", "hidden_d=8,8", "latent=5"]  # fmt: skip
TINY = ["mlp-mnist", "--batch-size", "4", "--rounds", "3", "--set", "hidden_g=8,8", "hidden_d=8,8", "latent=5"]
ON_CPU = ["fast float64", "plain float32", "fast float32"]
ON_GPU = [f"{way} {precision}" for precision in ("float64", "float32") for way in ("CuPy", "fused", "captured")]


def rows(path: Path) -> list[Row]:
    return [Row(**row) for row in json.loads(path.read_text())["results"]]


def test_on_the_cpu_all_is_well_and_the_missing_gpu_is_told(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))
    assert equivalence.main([*SMALL, "--json", str(tmp_path / "rows.json")]) == 0
    shown = capsys.readouterr()
    assert "No GPU here: its columns are left out." in shown.out
    assert "not quiet" not in shown.out + shown.err  # no times here that a busy machine could spoil
    found = rows(tmp_path / "rows.json")
    assert list(dict.fromkeys(row.side for row in found)) == ON_CPU
    assert {row.what.partition(":")[0] for row in found if row.kind == "operation"} >= {
        "conv2d",
        "batchnorm_leaky",
        "dense",
    }
    networks = {row.what.partition(":")[0] for row in found if row.kind != "operation"}
    assert networks == {
        f"{name}{variant}" for name in ("dcgan-28", "mlp-mnist") for variant in ("", ", rectifiers replaced by tanh")
    }
    assert all(row.error > 0 for row in found if row.side == "plain float32" and row.kind in ("gradient", "weights"))
    twice = [row for row in found if row.what.endswith(": the same twice")]
    assert {row.side for row in twice} == set(ON_CPU)
    assert all(row.kind == "repeat" and row.ok and row.error == 0 for row in twice)
    assert "yes |" in shown.out


@pytest.mark.usefixtures("strict")
def test_a_gpu_adds_its_sides_and_a_process_for_tf32(tmp_path, capsys, monkeypatch) -> None:
    tf32 = Row("dense: 1", "operation", "CuPy TF32", 1e-3, 1e3, True)
    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [tf32])
    assert equivalence.main([*TINY, "--json", str(tmp_path / "rows.json")]) == 0
    shown = capsys.readouterr().out
    assert "No GPU" not in shown
    operations, networks = (re.sub(" +", " ", line) for line in shown.splitlines() if line.endswith("32 |"))
    assert operations.endswith("| CuPy float64 | fused float64 | CuPy float32 | fused float32 | CuPy TF32 |")
    assert networks.endswith(f"| {' | '.join(ON_GPU)} |")
    found = rows(tmp_path / "rows.json")
    assert {row.side for row in found} == {*ON_CPU, *ON_GPU, "CuPy TF32"}
    assert found[-1] == tf32
    for side in ("captured float64", "captured float32"):
        kinds = [row.kind for row in found if row.side == side]
        assert kinds == 2 * ["weights", "repeat"]  # also without rectifiers
    assert {row.side for row in found if row.kind == "repeat"} == {*ON_CPU, "captured float64", "captured float32"}
    # Captured rounds are those that fused kernels play operation by operation.
    ways = {(row.side, row.what): row.error for row in found if row.kind == "weights"}
    for (side, what), error in ways.items():
        if side.startswith("captured"):
            assert error == ways[side.replace("captured", "fused"), what]
            assert error != ways[side.replace("captured", "CuPy"), what]


@pytest.mark.usefixtures("strict")
def test_a_refused_capture_is_a_failure_with_its_reason(tmp_path, capsys, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [])
    monkeypatch.setattr(strict_graph.Stream, "begin_capture", refuse)
    assert equivalence.main([*TINY, "--json", str(tmp_path / "rows.json")]) == 1
    bad = [row for row in rows(tmp_path / "rows.json") if not row.ok]
    assert {row.side for row in bad} == {"captured float64", "captured float32"}
    assert all("the capture was refused: no such thing" in row.what for row in bad)
    assert "the capture was refused: no such thing" in capsys.readouterr().out


@pytest.mark.usefixtures("strict")
def test_rounds_that_give_other_bits_the_second_time_are_seen(tmp_path, capsys, monkeypatch) -> None:
    real, calls = equivalence.trained, []

    def drifting(recipe, smooth, side, rounds):
        found = real(recipe, smooth, side, rounds)
        calls.append(side.name)
        last_digit = 1 + 1e-7 * (side.name == "captured float32") * calls.count(side.name)
        return found._replace(path=found.path * last_digit)

    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [])
    monkeypatch.setattr(equivalence, "trained", drifting)
    assert equivalence.main([*TINY, "--json", str(tmp_path / "rows.json")]) == 1
    bad = [(row.side, row.kind) for row in rows(tmp_path / "rows.json") if not row.ok]
    assert bad == 2 * [("captured float32", "repeat")]
    assert "no: 1.0e-07 !" in capsys.readouterr().out


@pytest.mark.usefixtures("strict")
def test_a_game_that_is_never_captured_has_no_such_sides(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [])
    words = ["toolbox-mlp", "--batch-size", "4", "--rounds", "3", "--set", "minibatch=2", "hidden_d=4", "latent=3"]
    equivalence.main([*words, "--json", str(tmp_path / "rows.json")])
    assert {row.side for row in rows(tmp_path / "rows.json") if row.kind == "weights"} == {
        *ON_CPU,
        *(side for side in ON_GPU if not side.startswith("captured")),
    }


@pytest.mark.usefixtures("strict")
def test_where_tf32_is_on_float32_is_not_what_it_seems(monkeypatch) -> None:
    monkeypatch.setenv("CUPY_TF32", "1")
    assert [(side.name, side.precision) for side in sides(1)[1:]] == [
        ("CuPy TF32", "TF32"), ("fused TF32", "TF32"), ("captured TF32", "TF32"),
    ]  # fmt: skip


@contextmanager
def fault(name: str, relative: float) -> Iterator[None]:
    """The fast twin of an operation is wrong by so much."""
    right = ops._host_twins[name]

    def wrong(*arguments: object, **options: object) -> object:
        made = right(*arguments, **options)
        return (made[0] * (1 + relative), *made[1:]) if isinstance(made, tuple) else made * (1 + relative)

    ops._host_twins[name] = wrong
    yield


@pytest.mark.parametrize(("name", "relative"), [("dense", 1e-12), ("leaky_relu", 1e-13)])
def test_a_fault_far_below_what_training_would_show_is_seen(name, relative, tmp_path, monkeypatch, capsys) -> None:
    real = equivalence.compute

    @contextmanager
    def compute(kernels: str, threads: int, macs: int) -> Iterator[None]:
        with real(kernels, threads, macs):
            if kernels == "plain":
                yield
            else:
                with fault(name, relative):
                    yield

    monkeypatch.setattr(equivalence, "compute", compute)
    assert equivalence.main([*TINY, "--json", str(tmp_path / "rows.json")]) == 1
    bad = {(row.what.partition(":")[0], row.side) for row in rows(tmp_path / "rows.json") if not row.ok}
    assert (name, "fast float64") in bad
    assert not any(side == "plain float32" for _, side in bad)
    assert " ! |" in capsys.readouterr().out


def test_measures_of_difference() -> None:
    r = np.array([3.0, 4.0])
    assert distance(np.array([3.0, 4.5]), r) == pytest.approx(0.1)
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(2**-0.5)
    y = r.astype(np.float32)
    y[0] = np.nextafter(y[0], np.float32(9))  # a place of 3 is half of one of 4
    assert last_places(y, r) == 0.5


@pytest.mark.usefixtures("strict")
def test_the_cpu_is_left_out_on_request_but_for_the_reference() -> None:
    names = [side.name for side in sides(1, without_cpu=True)]
    assert names == ["plain float64", *(f"{way} {of}" for of in ("float64", "float32") for way in WAYS)]


def test_without_a_gpu_and_without_the_cpu_there_is_nothing_to_compare(monkeypatch) -> None:
    def none(_: str) -> None:
        raise GPUUnavailable("no GPU")

    monkeypatch.setattr(equivalence, "select_device", none)
    with pytest.raises(UsageError, match="nothing to compare: no GPU"):
        sides(1, without_cpu=True)


def test_smooth_networks_have_the_same_parameters_and_no_rectifiers() -> None:
    net = nn.Sequential(nn.Dense(3), nn.ReLU(), nn.Sequential(nn.Dense(4), nn.LeakyReLU(0.2), nn.Maxout(2)))
    smooth = smoothed(net)
    assert smooth.param_shapes((2,)) == net.param_shapes((2,))
    same = repr(net).replace("ReLU()", "Tanh()").replace("LeakyReLU(slope=0.2)", "Tanh()")
    assert repr(smooth) == same.replace("Maxout(pieces=2)", "Sequential(Mean(pieces=2), Tanh())")


def test_the_gradient_of_the_mean_of_pieces_is_right() -> None:
    assert max(row.error for row in check_layer(Mean(3), (6,))) <= TOLERANCE


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(equivalence.UsageError, match="--rounds 2 is out of range: the smallest is 3"):
        equivalence.main(["--rounds", "2"])
    with pytest.raises(equivalence.UsageError, match="--threads 0 is out of range: the smallest is 1"):
        equivalence.main(["--threads", "0"])
