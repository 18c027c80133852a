"""Ctrl-C and SIGTERM ask; only a second Ctrl-C tears."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from minigan.runs.signals import EXIT_CODES, StopRequest

SIGINT, SIGTERM, SIGHUP = signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.fixture(autouse=True)
def terminal():
    """As if these tests had not been started with nohup."""
    before = signal.signal(SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, EXIT_CODES[SIGHUP])])
def test_a_signal_only_sets_the_exit_code(number, code):
    with StopRequest() as stop:
        assert stop.exit_code == 0
        signal.raise_signal(number)
        assert stop.exit_code == code


def test_another_thread_than_the_main_one_hears_none_and_needs_none():
    def within() -> int:
        with StopRequest() as stop:
            return stop.exit_code

    before = signal.getsignal(SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(within).result() == 0
    assert signal.getsignal(SIGTERM) is before


@pytest.mark.parametrize("first", [SIGINT, SIGTERM, SIGHUP])
def test_ctrl_c_after_a_request_leaves_at_once(first):
    with StopRequest():
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(SIGINT)


def test_a_second_sigterm_still_waits():
    with StopRequest() as stop:
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGTERM)
        assert stop.exit_code == 143


@pytest.mark.skipif(SIGHUP == SIGTERM, reason="no terminal is closed there")
def test_a_run_under_nohup_does_not_hear_that_the_terminal_is_closed():
    before = signal.signal(SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(SIGHUP)
            assert stop.exit_code == 0
    finally:
        signal.signal(SIGHUP, before)


@pytest.mark.parametrize("error", [None, KeyError])
def test_what_was_set_before_is_put_back_even_after_an_error(error):
    before = [signal.getsignal(number) for number in (SIGINT, SIGTERM)]
    try:
        with StopRequest():
            assert [signal.getsignal(number) for number in (SIGINT, SIGTERM)] != before
            if error:
                raise error
    except KeyError:
        pass
    assert [signal.getsignal(number) for number in (SIGINT, SIGTERM)] == before
