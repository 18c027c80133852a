"""The benchmark that the thresholds of small products are chosen by."""

import json

import pytest

from benchmarks import products
from minigan.errors import UsageError
from minigan.kernels import blas, dense

SHORT = ("--batch-size", "3", "--blocks", "1")


def test_both_ways_of_both_are_measured_and_told(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(products, "UNITS", (4, 8))
    assert products.main([*SHORT, "--json", str(tmp_path / "x.json")]) == 0
    told = capsys.readouterr().out
    assert "| 8     |           192 |" in told
    assert "two, without the lock" in told
    assert "`python -m benchmarks.products --batch-size 3 --blocks 1`" in told
    results = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["results"]
    assert [result["units"] for result in results] == [4, 8]
    for result in results:
        assert all(each["median"] > 0 for name in ("products", "gradients") for each in result[name].values())


@pytest.mark.parametrize(("build", "count"), [(products.shared, 3), (products.added, 2)])
def test_thresholds_are_other_ones_only_while_it_measures(build, count) -> None:
    def thresholds() -> tuple[int, ...]:
        return dense.PRODUCTS, dense.ERRAND, blas.SMALL

    before, met = thresholds(), set()
    for _, place in build(8, 3).values():
        with place.kernels():
            met.add(thresholds())
    assert len(met) == count
    assert before not in met
    assert before == thresholds()


def test_two_workers_do_share(monkeypatch) -> None:
    parts, given_away = [], []
    share, multiply = dense.share, dense.multiply
    monkeypatch.setattr(
        dense, "share", lambda work, *rest: share(lambda i, j: parts.append((i, j)) or work(i, j), *rest)
    )
    monkeypatch.setattr(dense, "multiply", lambda *what, **how: given_away.append(1) or multiply(*what, **how))
    for name, (call, place) in products.shared(8, 3).items():
        parts.clear()
        given_away.clear()
        with place.kernels():
            call()
        assert len(given_away) == (2 if name == "without the lock" else 0)
        if not given_away:
            assert len(parts) == {"one worker": 2, "by the queue": 4}[name]


@pytest.mark.parametrize("option", ["--batch-size", "--blocks"])
def test_a_number_out_of_range_is_refused(option) -> None:
    with pytest.raises(UsageError, match=f"{option} 0 is out of range"):
        products.main([option, "0"])
