"""Ctrl-C, SIGTERM and a terminal that is closed ask a run to stop after the round it is in, on Windows Ctrl-C and
Ctrl-Break; a second Ctrl-C leaves at once.
"""

import signal
import threading
from types import FrameType, TracebackType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 + number, as shells expect
UNREAD = 141  # the exit code of a run whose output nobody reads any more: 128 + SIGPIPE
HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows
EXIT_CODES |= {number: 128 + number for number in (HANGUP, getattr(signal, "SIGBREAK", None)) if number is not None}


class StopRequest:
    """A context in which these signals only set `exit_code`, but for a terminal that nobody minds (nohup); what was set
    before is put back. In another thread than the main one, which alone hears signals, it changes nothing.
    """

    def __init__(self) -> None:
        self.exit_code = 0  # not 0 once somebody has asked

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            self._before = {}
            return self
        unheard = {number for number in EXIT_CODES if number == HANGUP and signal.getsignal(number) is signal.SIG_IGN}
        self._before = {number: signal.signal(number, self._ask) for number in EXIT_CODES if number not in unheard}
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.exit_code = EXIT_CODES[signal.Signals(number)]
