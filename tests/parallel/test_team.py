"""A process's part of each batch, and of what is drawn for it."""

import numpy as np
import pytest

from minigan.parallel.team import ALONE, Team

TEAMS = [Team(rank, 3) for rank in range(3)]


def test_parts_put_together_are_the_batch():
    batch = np.arange(12).reshape(6, 2)
    assert np.array_equal(np.concatenate([team.part(batch) for team in TEAMS]), batch)
    assert ALONE.part(batch) is batch


@pytest.mark.parametrize("joined", [1, 2], ids=["one batch", "real and generated joined"])
def test_draws_of_the_parts_are_those_of_the_batch(joined):
    """Also in a second call, and in the order that a joined batch has in one process: first all real samples."""
    one = np.random.default_rng(5)
    expected = [one.random((joined * 6, 2), dtype=np.float32) for _ in range(2)]
    for team in TEAMS:
        draws = team.draws(np.random.default_rng(5), 2)
        for whole in expected:
            mine = [team.part(half) for half in np.split(whole, joined)]
            assert np.array_equal(draws.random((joined * 2, 2), dtype=np.float32), np.concatenate(mine))


def test_draws_for_no_whole_number_of_parts_are_refused():
    with pytest.raises(ValueError, match="5 samples are no multiple of this process's 2"):
        TEAMS[1].draws(np.random.default_rng(0), 2).random((5, 3))


def test_draws_have_nothing_that_would_not_be_shared():
    assert not hasattr(TEAMS[0].draws(np.random.default_rng(0), 2), "normal")


def test_alone_nothing_changes():
    rng, vector = np.random.default_rng(0), np.arange(3.0)
    ALONE.average(vector)
    assert ALONE.draws(rng, 2) is rng
    assert (vector.tolist(), ALONE.gather(vector).tolist()) == ([0, 1, 2], [[0, 1, 2]])
    assert (ALONE.largest(5), ALONE.leads) == (5, True)
