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
    assert "`python -m benchmarks.products --batch-size 3 --blocks 1`" in told
    results = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["results"]
    assert [result["units"] for result in results] == [4, 8]
    for result in results:
        assert all(each["median"] > 0 for name in ("products", "gradients") for each in result[name].values())


@pytest.mark.parametrize("build", [products.shared, products.added])
def test_thresholds_are_other_ones_only_while_it_measures(build) -> None:
    before, met = (dense.PRODUCTS, blas.SMALL), set()
    for _, place in build(8, 3).values():
        with place.kernels():
            met.add((dense.PRODUCTS, blas.SMALL))
    assert len(met) == 2
    assert before not in met
    assert before == (dense.PRODUCTS, blas.SMALL)


def test_two_workers_do_share(monkeypatch) -> None:
    parts = []
    real = dense.share
    monkeypatch.setattr(
        dense, "share", lambda work, *rest: real(lambda i, j: parts.append((i, j)) or work(i, j), *rest)
    )
    for name, (call, place) in products.shared(8, 3).items():
        parts.clear()
        with place.kernels():
            call()
        assert len(parts) == {"one worker": 2, "two workers": 4}[name]


@pytest.mark.parametrize("option", ["--batch-size", "--blocks"])
def test_a_number_out_of_range_is_refused(option) -> None:
    with pytest.raises(UsageError, match=f"{option} 0 is out of range"):
        products.main([option, "0"])
