"""Things in processes of their own: calls, errors, turns, the end."""

import os

import pytest

from benchmarks.processes import ProcessFailed, Remote, alternate
from minigan.errors import DataError


class Counter:
    def __init__(self, start: int) -> None:
        if start < 0:
            raise DataError("starts below zero")
        self.count = start

    def seconds_a_round(self, rounds: int) -> float:
        self.count += rounds
        return self.count

    def fail(self, how: str) -> None:
        if how == "gone":
            os._exit(3)
        if how == "user":
            raise DataError("a damaged file")
        raise ZeroDivisionError("deep inside")


def test_what_lives_there_keeps_its_state_and_its_errors_come_back() -> None:
    with Remote(Counter, 5) as remote:
        assert remote("seconds_a_round", 2) == 7
        with pytest.raises(DataError, match="a damaged file"):
            remote("fail", "user")
        with pytest.raises(ProcessFailed, match="ZeroDivisionError: deep inside"):
            remote("fail", "otherwise")
        assert remote("seconds_a_round", 1) == 8
        assert remote.waiting()["seconds"] > 0
        with pytest.raises(ProcessFailed, match=r"exit code 3"):
            remote("fail", "gone")
    assert remote._process.exitcode == 3


def test_an_error_at_the_start_comes_back_and_the_process_ends() -> None:
    with pytest.raises(DataError, match="below zero"):
        Remote(Counter, -1)


def test_the_process_ends_with_the_block() -> None:
    with Remote(Counter, 0) as remote:
        assert remote._process.is_alive()
    assert remote._process.exitcode == 0


def test_sides_take_turns_and_each_comes_first_in_some() -> None:
    calls = []

    def side(name):
        def call(method, rounds):
            calls.append(name)
            assert (method, rounds) == ("seconds_a_round", 4)
            return len(calls)

        return call

    times = alternate({"a": side("a"), "b": side("b")}, rounds=4, blocks=3)
    assert calls == list("abbaab")
    assert times == {"a": [1, 4, 5], "b": [2, 3, 6]}
