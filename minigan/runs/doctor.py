"""What is wrong with a run, by its numbers: a name, the evidence, and two remedies.

Each rule is a function of the rows of metrics.csv and the vitals of vitals.jsonl so far, and speaks of their end.
docs/gan/failures.md shows a run for each, and why the mathematics makes it so. A rule that is wrong about a healthy
run is worse than none: the thresholds are far from anything that the published runs do.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, log
from typing import NamedTuple, TypeAlias

from minigan.runs.metrics import Row
from minigan.runs.vitals import Vitals

WINDOW = 20  # rows that a rule looks back on
LOSS_LIMIT = 100.0  # nats; the smallest number of float32 is e^-103
STEP_LIMIT = 0.5  # share of a layer's weights that one round may change; usual is 0.001
SURE = 0.01  # D(G(z)) of a D that is never fooled
SURE_OF_REAL = 0.8  # D(x) of that D; with label smoothing it does not get to 1
NO_PULL = 0.1  # |dL/dtheta| |theta| of a layer, nats, that gives G nothing to go by
SNAPSHOTS = 3  # before anything can be said of how the samples vary
NARROW = 0.35  # spread of samples that look alike, as a share of the data's
FEW = 2.0  # classes in use by a G that has lost the others
SEVERAL = 5.0  # classes in use by a G that has learnt some
LATE = 5000  # rounds in which any G should have begun to vary
DEAD = 0.5  # share of a layer's rectifiers
FLAT = 0.9  # share of a layer's outputs in which a sigmoid is saturated
SWING = 12**-0.5  # deviation of D(G(z)); that of random numbers from [0, 1]
SWINGS = 4  # times in a window that it changes sides
NO_GAP = 0.02  # D(x) - D(G(z)) of a D that sees no difference
STILL = 0.02  # change of how far a critic's scores are apart, as a share of that, which is none
PATIENCE = 500  # rounds that this may last
MOMENTS = 4000  # of a run, at most so many and at least half of them, for which `course` makes diagnoses


class Diagnosis(NamedTuple):
    name: str
    evidence: str
    remedies: tuple[str, str]


class Signs(NamedTuple):
    """What a rule may look at."""

    rows: Sequence[Row]
    vitals: Sequence[Vitals]
    critic: bool = False  # D(x) and D(G(z)) say nothing


Rule: TypeAlias = Callable[[Signs], Diagnosis | None]


def diagnose(rows: Sequence[Row], vitals: Sequence[Vitals], critic: bool = False) -> list[Diagnosis]:
    """All that is wrong at the end of these numbers, the most serious first; empty: nothing.

    critic: D's scores have no targets, so that rules about D(x) and D(G(z)) are left out.
    """
    rules = [rule for rule in RULES if not (critic and rule in OF_OPINIONS)]
    return [found for rule in rules if (found := rule(Signs(rows, vitals, critic))) is not None]


def course(rows: Sequence[Row], vitals: Sequence[Vitals], critic: bool = False) -> dict[str, tuple[int, int]]:
    """The first and the last round in which each diagnosis was made, the earliest first; of many rows, some count."""
    found: dict[str, tuple[int, int]] = {}
    for count in range(1, len(rows) + 1, 1 + len(rows) // MOMENTS):
        step = int(rows[count - 1]["step"])
        seen = vitals[: bisect_right(vitals, step, key=lambda v: v.step)]
        for name, _, _ in diagnose(rows[max(0, count - PATIENCE - WINDOW) : count], seen, critic):
            found[name] = (found.get(name, (step, step))[0], step)
    return found


def in_a_word(rows: Sequence[Row], diagnoses: Sequence[Diagnosis], critic: bool) -> str:
    """The worst diagnosis, or who is ahead; of a critic, how far its scores are apart.

    D(x) and D(G(z)) are D's mean probabilities of "real" for real and for generated images; a perfect G leaves both
    at 1/2. Minus the loss of a critic is how much more it gives to real images than to generated ones, on average;
    where its slopes are held at 1, that estimates how far the two are apart (Arjovsky et al. 2017, section 3).
    """
    if diagnoses:
        return diagnoses[0].name
    if not rows:
        return "no measurements yet"
    if critic:
        return _apart_in_a_word(rows)
    return "D is ahead" if _gap(rows[-WINDOW:]) > 0.5 else "balanced"


def _apart_in_a_word(rows: Sequence[Row]) -> str:
    """Of the last rows, compared with as many before them."""
    now, before = (-_mean(some, "loss_d") for some in (rows[-WINDOW:], rows[-2 * WINDOW : -WINDOW]))
    if now <= 0:
        return "the critic gives real images no more than others"
    if len(rows) < 2 * WINDOW or abs(now - before) < STILL * abs(before):
        return f"scores are {now:.3g} apart"
    return f"scores are {now:.3g} apart, {'less than before' if now < before else 'more than before'}"


def too_early(vitals: Sequence[Vitals]) -> str:
    """What cannot be said after so few snapshots; empty: nothing, or there are none to speak of."""
    count = f"{len(vitals)} snapshot{'' if len(vitals) == 1 else 's'}"
    return f"whether the samples are alike is not known: {count} of {SNAPSHOTS}" if 0 < len(vitals) < SNAPSHOTS else ""


def exploding(signs: Signs) -> Diagnosis | None:
    """A loss beyond `LOSS_LIMIT` over five rows, or a layer that changes by more than `STEP_LIMIT` in a round.

    A loss of 100 nats means a probability of e^-100, of which float32 holds a digit or two at most; that of a critic is
    no probability, and may be as large as images are apart. The usual update is about a thousandth of the weights
    (Karpathy, CS231n, "Babysitting the learning process"); where it is half, a gradient has been followed far beyond
    where it holds (Goodfellow, Bengio & Courville 2016, section 8.2.4).
    """
    remedies = ("lower the learning rates", "lower the momentum")
    for name, player in (("loss_d", "D"), ("loss_g", "G")):
        loss = _mean(signs.rows[-5:], name, abs)
        if loss > LOSS_LIMIT and not signs.critic:
            return Diagnosis(
                "the numbers explode", f"the loss of {player} is {loss:.3g} on average over the last rows", remedies
            )
    where, share = _largest(signs.vitals[-1].updates) if signs.vitals else ("", 0.0)
    if share <= STEP_LIMIT:
        return None
    evidence = f"round {signs.vitals[-1].step} changed {where} by {share:.2g} of its size, where 0.001 is usual"
    return Diagnosis("the numbers explode", evidence, remedies)


def vanished_gradient(signs: Signs) -> Diagnosis | None:
    """D is sure (`SURE`), and no layer of G has a gradient to speak of (`NO_PULL`).

    With log(1 - D(G(z))) the gradient on a logit is D(G(z)) itself, and vanishes when D is sure (Goodfellow et al.
    2014, section 3; Arjovsky & Bottou 2017, theorem 2.4). |dL/dtheta| |theta| does not depend on how the weights are
    scaled: changing those of a layer by 1 % changes the loss by 1 % of it at most. A D that is not sure may be young.
    """
    recent = signs.rows[-WINDOW:]
    if not (signs.vitals and recent) or _mean(recent, "d_fake_g") >= SURE:
        return None
    gradients, weights = signs.vitals[-1].gradients["G"], signs.vitals[-1].weights["G"]
    pull = max((gradients[layer] * weights.get(layer, 0.0) for layer in gradients), default=0.0)
    if pull >= NO_PULL:
        return None
    loss = _mean(recent, "loss_g")
    evidence = (
        f"D(G(z)) is {_mean(recent, 'd_fake_g'):.2g}, and changing all weights of a layer of G by 1 % would change "
        f"its loss ({loss:.2g}) by {pull / 100:.1g} at most"
    )
    if loss < -log(SURE) / 2:  # -log D(G(z)) would be large
        other = "give G the loss -log D(G(z)), which is steepest where D is sure"
    else:
        other = "start again with lower learning rates: G's own layers let nothing through"
    return Diagnosis("G's gradient has vanished", evidence, (other, "slow D down: a lower learning rate, more dropout"))


def collapsed(signs: Signs) -> Diagnosis | None:
    """The samples are alike (`NARROW`) or of few classes (`FEW`), at two snapshots in a row, and were not before.

    G maps all z to what fools D at the moment (Goodfellow 2016, "NIPS 2016 Tutorial", section 5.1.1). A G that starts
    at one image, as that of 2014 does, has `LATE` rounds to leave it. Classes in use: exp of their entropy.
    """
    vitals = signs.vitals
    if len(vitals) < SNAPSHOTS:
        return None
    remedies = ("lower both learning rates", "make the batch larger")
    now, widest = max(v.spread for v in vitals[-2:]), max(v.spread for v in vitals)
    if now < NARROW and ((widest > 2 * now and widest >= NARROW) or vitals[-1].step >= LATE):
        evidence = f"the spread of the samples is {now:.0%} of the data's; it has been {widest:.0%}"
        return Diagnosis("G has collapsed", evidence, remedies)
    histograms = [v.classes for v in vitals if v.classes and any(v.classes)]
    lately = max(map(_in_use, histograms[-2:]), default=FEW + 1)
    if lately > FEW or (most := max(map(_in_use, histograms))) < SEVERAL:
        return None
    evidence = f"the samples use {lately:.1f} classes; they have used {most:.1f}"
    return Diagnosis("G has collapsed", evidence, remedies)


def too_strong(signs: Signs) -> Diagnosis | None:
    """D is not fooled any more: D(G(z)) below `SURE` and D(x) above `SURE_OF_REAL` over a whole window.

    A D that is perfect tells G nothing about where the data are: its gradient vanishes or is noise, by the loss
    (Arjovsky & Bottou 2017, section 2). A D that is only ahead is as it should be.
    """
    recent = signs.rows[-WINDOW:]
    if len(recent) < WINDOW:
        return None
    real, fake = _mean(recent, "d_real"), _mean(recent, "d_fake")
    if fake >= SURE or real <= SURE_OF_REAL:
        return None
    evidence = f"D(x) is {real:.2f} and D(G(z)) {fake:.2g} on average over {WINDOW} rows"
    return Diagnosis("D is too strong", evidence, ("give D more dropout or label smoothing", "lower D's learning rate"))


def dead_rectifiers(signs: Signs) -> Diagnosis | None:
    """Half of a layer's rectifiers (`DEAD`) give 0 for every sample: no gradient reaches their weights again.

    One large step can push a bias so low (Karpathy, CS231n: "as much as 40 % of your network can be dead if the
    learning rate is set too high"; Lu et al. 2019, "Dying ReLU").
    """
    where, share = _largest(signs.vitals[-1].dead) if signs.vitals else ("", 0.0)
    if share < DEAD:
        return None
    evidence = f"{share:.0%} of the units of {where} are 0 for all samples looked at"
    return Diagnosis(
        "rectifiers are dead", evidence, ("start again with a lower learning rate", "leaky rectifiers instead")
    )


def saturated(signs: Signs) -> Diagnosis | None:
    """A hidden sigmoid or tanh is flat (`FLAT`) for nearly all samples, so that hardly any gradient passes it.

    Glorot & Bengio 2010, section 3. The last one of G makes the pixels: black and white ones saturate it rightly.
    """
    if not signs.vitals:
        return None
    hidden = {"G": dict(list(signs.vitals[-1].saturated["G"].items())[:-1]), "D": signs.vitals[-1].saturated["D"]}
    where, share = _largest(hidden)
    if share < FLAT:
        return None
    evidence = f"{share:.0%} of the outputs of {where} are where its slope is below 1 % of the largest"
    return Diagnosis("a layer is saturated", evidence, ("start from smaller weights", "lower the learning rate"))


def oscillating(signs: Signs) -> Diagnosis | None:
    """D(G(z)) swings more than random numbers would (`SWING`), and to and fro (`SWINGS`), not once.

    Simultaneous gradient steps circle around the solution of a game, outwards where the steps are large (Mescheder et
    al. 2018, section 2; Gidel et al. 2019: momentum makes it worse). In one round all samples pass as real, in
    the next ones D has found them out.
    """
    fakes = [row["d_fake"] for row in signs.rows[-WINDOW:]]
    if len(fakes) < WINDOW:
        return None
    mean, middle = sum(fakes) / WINDOW, (max(fakes) + min(fakes)) / 2
    deviation = (sum((fake - mean) ** 2 for fake in fakes) / WINDOW) ** 0.5
    swings = sum((a > middle) != (b > middle) for a, b in pairwise(fakes))
    if deviation < SWING or swings < SWINGS:
        return None
    evidence = (
        f"D(G(z)) went between {min(fakes):.2f} and {max(fakes):.2f} in the last {WINDOW} rows, {swings} times to the "
        f"other side (deviation {deviation:.2f})"
    )
    return Diagnosis("the players oscillate", evidence, ("lower the momentum", "lower both learning rates"))


def no_difference(signs: Signs) -> Diagnosis | None:
    """D(x) - D(G(z)) is below `NO_GAP` on average over the last `PATIENCE` rounds, and over a window of rows.

    Then G learns nothing either. At the solution of the game D = 1/2 everywhere as well (Goodfellow et al. 2014,
    proposition 1), so look at the samples before you believe it.
    """
    recent = _last_rounds(signs.rows, PATIENCE)
    if len(recent) == len(signs.rows) or (gap := _gap(recent)) >= NO_GAP:
        return None
    evidence = f"D(x) - D(G(z)) is {gap:.3f} on average over the last {len(recent)} rows"
    if signs.vitals:
        where, share = _largest({"D": signs.vitals[-1].updates["D"]})
        evidence += f"; a round changes {where} by {share:.1g} of its size"
    return Diagnosis(
        "D sees no difference", evidence, ("raise D's learning rate", "give D more steps a round, or less dropout")
    )


RULES: tuple[Rule, ...] = (
    exploding, vanished_gradient, collapsed, too_strong, dead_rectifiers, saturated, oscillating, no_difference,
)  # fmt: skip

OF_OPINIONS = (vanished_gradient, too_strong, oscillating, no_difference)  # that D(x) and D(G(z)) are needed for


def _last_rounds(rows: Sequence[Row], rounds: int) -> Sequence[Row]:
    """The rows of the last rounds, and at least a window."""
    for count, row in enumerate(reversed(rows)):
        if count >= WINDOW and row["step"] <= rows[-1]["step"] - rounds:
            return rows[-count:]
    return rows


def _mean(rows: Sequence[Row], name: str, of: Callable[[float], float] = float) -> float:
    return sum(of(row[name]) for row in rows) / max(len(rows), 1)


def _gap(rows: Sequence[Row]) -> float:
    return _mean(rows, "d_real") - _mean(rows, "d_fake")


def _largest(numbers: dict[str, dict[str, float]]) -> tuple[str, float]:
    """("dense1 of D", number) of the layer with the largest number; ("", 0) where there are no layers."""
    found = [(number, f"{layer} of {role}") for role, layers in numbers.items() for layer, number in layers.items()]
    number, where = max(found, default=(0.0, ""))
    return where, number


def _in_use(counts: Sequence[int]) -> float:
    """How many classes are in use: exp of the entropy of their histogram."""
    total = sum(counts)
    return exp(-sum(count / total * log(count / total) for count in counts if count))
