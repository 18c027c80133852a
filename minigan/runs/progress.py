"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from minigan import cli
from minigan.runs.doctor import Diagnosis, in_a_word
from minigan.runs.metrics import Row
from minigan.runs.signals import UNREAD, StopRequest

PLAIN_SECONDS = 10  # between two lines off a terminal


class _Bar(tqdm):
    monitor_interval = 0  # no thread that looks after a bar which stands still for long: it would outlive the run


class Bar:
    """How many rounds are done, how fast, and a few words: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, step: int, goal: int, stop: StopRequest, hidden: bool = False) -> None:
        self._bar = _Bar(
            total=goal, initial=step, unit="step", dynamic_ncols=True, leave=False,
            disable=hidden or not sys.stderr.isatty(),
        )  # fmt: skip
        self._stop = stop
        self._goal, self._start = goal, step
        self._began = self._last = time.monotonic()

    def advance(self) -> None:
        self._bar.update()

    def show(self, step: int, words: Callable[[], str]) -> None:
        """Show words about the round `step`; off a terminal at most one line every few seconds."""
        now = time.monotonic()
        if not self._bar.disable:
            self._bar.set_postfix_str(words(), refresh=False)  # shown when the bar is drawn next, a few times a second
        elif now - self._last >= PLAIN_SECONDS:
            self._last = now
            rate = (step - self._start) / (now - self._began)
            self.say(f"step {step}/{self._goal}  {rate:.{0 if rate >= 10 else 2}f} step/s  {words()}")

    def say(self, line: str) -> None:
        """Print a line without tearing the bar; if it cannot be printed, as nobody reads it or its disk is full, ask to
        stop: so the run is saved."""
        try:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        except OSError:
            cli.hush(sys.stdout)
            self._stop.exit_code = self._stop.exit_code or UNREAD

    def close(self) -> None:
        self._bar.close()


class Progress(Bar):
    """Shows steps a second, both losses, D(x), D(G(z)) in both players' steps, and how the run is, in a word."""

    def __init__(self, step: int, goal: int, stop: StopRequest, hidden: bool = False, *, critic: bool) -> None:
        super().__init__(step, goal, stop, hidden)
        self._critic = critic
        self._told: set[str] = set()

    def measured(self, rows: Sequence[Row], diagnoses: Sequence[Diagnosis]) -> None:
        """Show the newest measurements."""
        step = int(rows[-1]["step"])
        self.tell(step, diagnoses)
        self.show(step, lambda: describe(rows, diagnoses, self._critic))

    def tell(self, step: int, diagnoses: Sequence[Diagnosis]) -> None:
        """A line for each diagnosis that is the first of its name."""
        for found in diagnoses:
            if found.name not in self._told:
                self._told.add(found.name)
                self.say(f"step {step}: {found.name}: {found.evidence}; {', or '.join(found.remedies)}")


def describe(rows: Sequence[Row], diagnoses: Sequence[Diagnosis], critic: bool) -> str:
    """``loss D 1.21 G 0.98  D(x) 0.58  D(G(z)) 0.41 in D's step, 0.36 in G's  balanced``; a critic has no opinions."""
    row = rows[-1]
    opinions = f"D(x) {row['d_real']:.2f}  D(G(z)) {row['d_fake']:.2f} in D's step, {row['d_fake_g']:.2f} in G's  "
    return (
        f"loss D {row['loss_d']:.2f} G {row['loss_g']:.2f}  {'' if critic else opinions}"
        f"{in_a_word(rows, diagnoses, critic)}"
    )
