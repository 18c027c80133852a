"""What the numbers mean in words."""

import pytest

from minigan.runs.verdict import WINDOW, diversity_warning, verdict


def rows(real, fake, count=WINDOW):
    return [{"d_real": real, "d_fake": fake}] * count


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (0.95, 0.05, "D is winning"),
        (0.9, 0.2, "D is ahead"),
        (0.6, 0.4, "balanced"),
        (0.5, 0.49, "D sees no difference"),
        (0.4, 0.6, "D sees no difference"),
    ],
)
def test_the_verdict_follows_the_gap_between_real_and_generated(real, fake, words):
    assert verdict(rows(real, fake)).startswith(words)


@pytest.mark.parametrize(("real", "fake"), [(0.95, 0.05), (0.5, 0.5)])
def test_a_run_out_of_balance_is_told_a_cause_and_two_remedies(real, fake):
    cause, remedies = verdict(rows(real, fake)).split("; ")
    assert ":" in cause
    assert ", or " in remedies


def test_only_the_last_rows_count():
    assert verdict(rows(0.99, 0.01) + rows(0.6, 0.4)) == "balanced"


def test_a_single_outlier_does_not_decide():
    assert verdict(rows(0.6, 0.4, WINDOW - 1) + rows(0.99, 0.01, 1)) == "balanced"


def test_no_difference_is_not_said_before_there_are_enough_rows():
    assert verdict(rows(0.5, 0.5, WINDOW - 1)) == "balanced"


def test_without_rows_there_is_no_verdict():
    assert verdict([]) == "no measurements yet"


def test_low_diversity_is_told_with_its_share_and_two_remedies():
    assert diversity_warning(0.36) is None
    warning = diversity_warning(0.124)
    assert "12% of the data's spread" in warning
    assert "lower both learning rates, or make the batch larger" in warning
