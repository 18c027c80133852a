"""The first witness: finite differences agree with every gradient, and catch every planted bug."""

import contextlib
import math
from collections.abc import Iterable
from itertools import islice

import numpy as np
import pytest

from minigan import nn
from minigan.backend import to_host
from minigan.errors import UsageError
from minigan.gradcheck import TOLERANCE, Problem, Row, all_problems, cases, check
from minigan.gradcheck.__main__ import main
from minigan.gradcheck.method import four_point, numeric_gradient, relative_error, two_point
from minigan.gradcheck.plot import plot_steps
from tests.kernels.twins import fast
from tests.planted_bugs import BUGS, Bug, planted

PROBLEMS = {problem.name: problem for problem in all_problems()}


@pytest.mark.parametrize("name", cases.builders())
def test_every_gradient_agrees_with_finite_differences(name: str) -> None:
    rows = [row for problem in cases.builders()[name]() for row in check(problem)]
    assert [row for row in rows if not row.passes(TOLERANCE / 10)] == []


@pytest.mark.parametrize("name", list(cases.builders())[::4])
def test_and_so_it_does_for_other_numbers(name: str) -> None:
    rows = [row for problem in cases.builders(seed=1)[name]() for row in check(problem)]
    assert [row for row in rows if not row.passes()] == []


# Elsewhere, gradients are compared with those that agree with the quotients: that is sharper, and takes no quotients.
# gpu_check takes them on a GPU as well.


@pytest.mark.parametrize("name", cases.builders())
def test_every_gradient_is_the_same_with_fast_kernels(name: str) -> None:
    plain = list(cases.builders()[name]())  # made before
    values = [problem.value() for problem in plain]
    with fast(2):
        assert_same_gradients(list(cases.builders()[name]()), plain, values)


@pytest.mark.parametrize("where", ["strict", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_every_gradient_is_the_same_on_a_gpu(where: str, request: pytest.FixtureRequest) -> None:
    plain = list(all_problems())
    assert_same_gradients(all_problems(request.getfixturevalue(where)), plain, [problem.value() for problem in plain])


def assert_same_gradients(there: Iterable[Problem], here: list[Problem], values: list[float]) -> None:
    for found, expected, value in zip(there, here, values, strict=True):
        assert found.value() == pytest.approx(value, rel=1e-12)
        for name, (_, claimed) in expected.claims.items():
            gradient = to_host(found.claims[name][1])
            assert relative_error(claimed, gradient) <= 1e-11, f"{expected.name}: {name}"


def is_caught(about: str = "") -> bool:
    """Whether a row of the table is now wrong. A crash is not enough: nobody can miss it, but it proves nothing.

    Problems with most of the words in their names are checked first, which is where a bug is found soonest.
    """
    words = about.replace(",", " ").split()
    for _, build in sorted(cases.builders().items(), key=lambda item: sum(word not in item[0] for word in words)):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if any(not row.passes() for problem in build() for row in check(problem)):
                return True
    return False


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    with planted(bug):
        assert is_caught(bug.story.partition(":")[0])


def test_there_are_many_bugs_of_different_stories() -> None:
    assert len({bug.story for bug in BUGS}) == len(BUGS) >= 160


def test_without_a_bug_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tenth of the table; all of it is checked above."""
    some = dict(islice(cases.builders().items(), 0, None, 10))
    monkeypatch.setattr(cases, "builders", lambda: some)
    with planted(Bug("nothing", nn.Dense.backward, "grads is not None", "grads is not None")):
        assert not is_caught()


def test_a_bug_that_no_longer_fits_the_code_is_reported() -> None:
    with pytest.raises(LookupError, match="not in"), planted(Bug("stale", nn.Dense.backward, "no such code", "")):
        pass


def test_every_layer_is_checked() -> None:
    exported = {getattr(nn, name) for name in nn.__all__}
    layers = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, nn.Layer)} - {nn.Layer}
    assert {type(case.layer) for case in cases.LAYERS} == layers


def test_the_four_point_quotient_is_exact_for_polynomials_of_degree_four() -> None:
    assert four_point(lambda x: 2 + 3 * x + 5 * x**2 + 7 * x**3 + 11 * x**4, 0.1) == pytest.approx(3, rel=1e-12)


def test_four_points_are_far_better_than_two() -> None:
    assert abs(four_point(math.exp, 1e-2) - 1) < 1e-8 < 1e-6 < abs(two_point(math.exp, 1e-2) - 1)


def test_the_array_is_put_back_as_it_was() -> None:
    x = np.array([0.1, 0.7])
    before = x.copy()
    gradient = numeric_gradient(lambda: float((x**2).sum()), x)
    assert (x == before).all()
    assert gradient == pytest.approx(2 * before, rel=1e-10)


def test_along_directions_one_wrong_entry_of_many_is_noticed() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    before = x.copy()

    def rows(claimed: np.ndarray) -> list[Row]:
        return check(Problem("cubes", lambda: float((weights * x**3).sum()), {"x": (x, claimed)}, directions=3))

    right = 3 * weights * x**2
    assert all(row.passes() for row in rows(right))
    assert (x == before).all()
    wrong = right.copy()
    wrong[17, 2] *= 1.001
    assert not any(row.passes() for row in rows(wrong))
    assert not any(row.passes() for row in rows(np.zeros_like(x)))
    assert not any(row.passes() for row in rows(np.full_like(x, np.nan)))


def test_a_gradient_that_is_not_a_number_never_passes() -> None:
    x = np.ones(2)
    (row,) = check(Problem("nan", lambda: float(x.sum()), {"x": (x, np.array([1.0, np.nan]))}))
    assert not row.passes()
    assert row.error == math.inf


def test_the_error_is_relative_to_the_largest_entry() -> None:
    assert relative_error(np.array([100.0, 1.0]), np.array([100.0, 1.1])) == pytest.approx(1e-3)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0


def test_the_plot_is_a_picture(tmp_path) -> None:
    plot_steps(PROBLEMS["tanh"], tmp_path / "v.png")
    assert (tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")


def test_a_quotient_that_is_not_a_number_never_passes() -> None:
    x = np.ones(2)
    (row,) = check(Problem("nan", lambda: math.nan, {"x": (x, np.ones(2))}))
    assert not row.passes()


@pytest.mark.parametrize("arguments", [["--step", "nan"], ["--step", "2"], ["--plot", "v.foo"], ["--seed", "-1"]])
def test_a_wrong_option_of_the_command_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match=arguments[1].lstrip("-")):
        main(arguments)


@pytest.mark.parametrize(
    "array", [np.ones((3, 4)).T, np.ones((3, 4))[:, ::2], np.ones(3, np.float32), np.ones(3, int)],
    ids=["turned", "every other", "float32", "integers"],
)  # fmt: skip
def test_a_quotient_of_an_array_that_would_be_copied_or_rounded_is_refused(array) -> None:
    with pytest.raises(ValueError, match="a contiguous array of float64"):
        numeric_gradient(lambda: float((array * array).sum()), array)


def test_a_small_gradient_is_judged_like_a_large_one_and_only_rounding_is_zero() -> None:
    assert relative_error(np.array([1e-8]), np.array([1.25e-8])) == pytest.approx(0.2)
    assert relative_error(np.array([0.0]), np.array([1e-9])) == 1
    assert relative_error(np.array([3e-11]), np.array([-2e-12])) == 0
