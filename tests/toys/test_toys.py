"""Toys: their data and noise, gradients that are the loss's, runs that repeat, pictures that show what is there."""

import csv
import io
import math
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minigan import toy as command
from minigan.errors import UsageError
from minigan.evaluation.modes import ring
from minigan.games import Player, UnrolledGame
from minigan.games.unrolled import look_ahead
from minigan.gradcheck import numeric_gradient
from minigan.nn import init_params
from minigan.randomness import Purpose, stream
from minigan.toys import figure, training
from minigan.toys.measures import jensen_shannon, measures
from minigan.toys.problems import TOYS, Times, Toy, normal_density, stratified, swiss_roll
from minigan.toys.training import (
    SURFACE,
    ToyDraws,
    View,
    best_discriminator,
    everywhere,
    look,
    p_generated,
    rounds,
    start,
)

MADE = {f"{name}{setting}": make() for name, settings in TOYS.items() for setting, make in settings.items()}
every_toy = pytest.mark.parametrize("toy", MADE.values(), ids=MADE)
LINES = [MADE["gaussian-1da"], MADE["gaussian-1db"]]


def quick(toy: Toy) -> Toy:
    return replace(toy, pretrain=min(toy.pretrain, 20))


def short(toy: Toy, seed: int = 0, looks: tuple[int, ...] = (0, 3)) -> list[View]:
    played = rounds(quick(toy), 3, 20, toy.lr, seed)
    return [look(toy, g, d, step, seed) for step, g, d in played if step in looks]


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """D and G are looked at in few places, for tests that draw nothing."""
    for name in ("LINE", "SURFACE", "DENSE"):
        monkeypatch.setattr(training, name, 20)


@every_toy
def test_the_data_and_the_noise_have_their_shapes_and_are_in_the_window(toy: Toy) -> None:
    rng = np.random.default_rng(0)
    x, z = toy.real(rng, 500), toy.latents(rng, 500)
    assert (x.shape, x.dtype) == ((500, toy.dimensions), np.float32)
    assert (z.shape, z.dtype) == ((500, toy.latent), np.float32)
    assert (abs(x) < toy.window).mean() > 0.99


@pytest.mark.parametrize(("toy", "mean", "std"), [(LINES[0], -1, 1), (LINES[1], 4, 0.5)])
def test_the_gaussians_are_those_of_their_settings(toy: Toy, mean: float, std: float) -> None:
    x = toy.real(np.random.default_rng(0), 40_000)
    assert x.mean() == pytest.approx(mean, abs=5 * std / 200)
    assert x.std() == pytest.approx(std, rel=5 / math.sqrt(2 * 40_000))
    line = np.linspace(mean - 8 * std, mean + 8 * std, 10_001)
    assert toy.density is not None
    assert toy.density(line).sum() * (line[1] - line[0]) == pytest.approx(1, abs=1e-9)
    assert toy.density(np.array([mean])) == pytest.approx(1 / (std * math.sqrt(2 * math.pi)))


def test_stratified_noise_has_one_number_in_each_part() -> None:
    z = stratified(np.random.default_rng(0), 10, 5.0).ravel()
    assert ((z + 5) // 1).tolist() == list(range(10))


def test_the_swiss_roll_is_a_spiral() -> None:
    points = 7.5 * swiss_roll(np.random.default_rng(0), 2000).astype(float)
    radius, angle = np.linalg.norm(points, axis=1), np.arctan2(points[:, 1], points[:, 0])
    assert radius.min() > 1.5 * math.pi - 1.5
    assert radius.max() < 4.5 * math.pi + 1.5
    away = (radius - angle + math.pi) % (2 * math.pi) - math.pi  # on the spiral the angle is the radius
    assert abs(away).max() < 1.5


def test_the_ring_has_eight_modes_and_the_grid_25() -> None:
    for name, modes in (("ring", 8), ("grid", 25)):
        toy = MADE[name]
        assert toy.modes is not None
        view = short(toy, looks=(0,))[0]
        perfect = view._replace(many=toy.real(np.random.default_rng(0), 5000))
        found = measures(toy, perfect)
        assert found[f"modes covered, of {modes}"] == modes
        assert found["share within 3 standard deviations of a mode"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)
        collapsed = view._replace(many=np.tile(toy.modes[0][:1], (100, 1)).astype(np.float32))
        assert measures(toy, collapsed)["reverse KL of the modes, nats"] == pytest.approx(math.log(modes))
    assert len(np.unique(ring().round(9), axis=0)) == 8


def test_modes_are_counted_in_as_many_samples_as_the_setting_says() -> None:
    """PacGAN's 2,500: a mode of which only later samples are is not covered."""
    toy = MADE["ringpacgan"]
    assert toy.modes is not None
    centres = toy.modes[0].astype(np.float32)
    many = np.concatenate([np.tile(centres[:1], (2500, 1)), centres])
    view = short(toy, looks=(0,))[0]._replace(many=many)
    assert measures(toy, view)["modes covered, of 8"] == 1
    assert measures(replace(toy, counted=2508), view)["modes covered, of 8"] == 8


@every_toy
@pytest.mark.usefixtures("few_points")
def test_the_arrows_are_the_gradient_of_the_loss_that_g_descends(toy: Toy) -> None:
    """Against finite differences of G's mean loss with respect to each sample, in float64."""
    toy = quick(toy)
    g, d = start(toy, toy.lr, 0)
    count = 6
    if toy.generator.layers[0] == MADE["ringpacgan"].generator.layers[0]:  # of small weights all samples are near 0,
        g.theta.flat *= 3  # where D has its kinks
        d.theta.flat *= 3
    wide = Player.new(d.net, d.optimiser, (toy.dimensions,), np.random.default_rng(0), dtype=np.float64)
    wide.theta.flat[...] = d.theta.flat
    if isinstance(toy.game, UnrolledGame):
        for player in (d, wide):  # Adam's first update is the sign of a gradient, which jumps
            player.updates = 10
            for moment in player.moments.values():
                moment += 1e-3
    view = look(toy, g, d, 0, 0, count)
    x = view.x.astype(np.float64)
    real = toy.real(stream(0, Purpose.FIXED_LATENT, 2), count).astype(np.float64)

    def loss() -> float:
        if isinstance(toy.game, UnrolledGame):
            ahead = look_ahead(toy.game.loss, d.net, wide, real, x, toy.game.unroll, None)
            return -float(ahead[1].value)
        return float(toy.game.loss.generator(d.net.forward(wide.theta, x, train=False)[0])[0])

    np.testing.assert_allclose(view.push, -count * numeric_gradient(loss, x), rtol=1e-3, atol=1e-4)
    assert abs(view.push).max() > 1e-3


def test_times_multiplies_and_so_does_its_gradient() -> None:
    layer, theta = Times(5.0), init_params(Times(5.0), (2,), np.random.default_rng(0))
    y, cache = layer.forward(theta, np.ones((3, 2)), train=True)
    assert (y == 5).all()
    assert (layer.backward(theta, np.ones((3, 2)), cache, None) == 5).all()
    assert layer.backward(theta, np.ones((3, 2)), cache, None, need_dx=False) is None


@every_toy
@pytest.mark.usefixtures("few_points")
def test_a_seed_repeats_its_run_whatever_is_looked_at_and_another_gives_another(toy: Toy) -> None:
    first, again, other = short(toy)[-1], short(toy, looks=(3,))[-1], short(toy, seed=1)[-1]
    for a, b in zip(first[1:], again[1:], strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.x, other.x)
    assert not np.array_equal(first.x, short(toy)[0].x)  # and something is learnt


def test_every_draw_of_a_round_is_its_own() -> None:
    toy = MADE["ring"]
    drawn = [f() for s in (0, 1) for r in [ToyDraws(toy, 4, 0, s)] for f in (partial(r.real, 0), r.latent_g)]
    drawn += [ToyDraws(toy, 4, 0, s).latent_d(0) for s in (0, 1)]
    assert len({array.tobytes() for array in drawn}) == len(drawn) == 6


def test_d_knows_the_density_before_setting_a_begins() -> None:
    """Least squares brings it nearer; the momentum and the count of updates start from nothing."""
    toy = replace(LINES[0], pretrain=300)
    line = everywhere(toy).astype(float)

    def away(d_toy: Toy) -> float:
        g, d = start(d_toy, 0.1, 0)
        return float(abs(look(d_toy, g, d, 0, 0).d - normal_density(line, -1, 1).ravel()).mean())

    assert away(toy) < 0.5 * away(replace(toy, pretrain=0))
    _, d = start(toy, 0.1, 0)
    assert d.updates == 0
    assert not d.moments["velocity"].any()


@every_toy
def test_d_is_asked_everywhere_in_the_window(toy: Toy) -> None:
    points = everywhere(toy)
    assert points.shape[1] == toy.dimensions
    assert (points.min(), points.max()) == (-np.float32(toy.window), np.float32(toy.window))
    if toy.dimensions == 2:  # row by row from below, as the picture wants it
        plane = points.reshape(SURFACE, SURFACE, 2)
        assert (plane[0, :, 1] == -np.float32(toy.window)).all()
        assert (np.diff(plane[0, :, 0]) > 0).all()


@pytest.mark.usefixtures("few_points")
def test_of_a_critic_scores_are_shown_beside_those_of_the_samples() -> None:
    """One could add any number to all of them, and nothing would change."""
    toy = MADE["ringwgan-gp"]
    g, d = start(toy, toy.lr, 0)
    before = look(toy, g, d, 0, 0)
    d.theta["dense3.b"] = d.theta["dense3.b"] + 7
    after = look(toy, g, d, 0, 0)
    np.testing.assert_allclose(after.d, before.d, atol=1e-5)
    assert before.d.min() < 0 < before.d.max()
    assert abs(before.d).max() > 0.1


def test_the_density_of_g_and_the_best_discriminator_are_right_for_perfect_samples() -> None:
    toy = LINES[1]
    view = short(toy)[0]._replace(many=toy.real(np.random.default_rng(0), 200_000))
    x, p_g = p_generated(toy, view)
    assert toy.density is not None
    np.testing.assert_allclose(p_g, toy.density(x), atol=0.03)
    _, best = best_discriminator(toy, view)
    near = abs(x - 4) < 0.7
    np.testing.assert_allclose(best[near], 0.5, atol=0.03)
    assert np.isnan(best[x < 0]).all()
    found = measures(toy, view._replace(d=np.full_like(view.d, 0.6)))
    assert found["largest |D - 1/2| over the support"] == pytest.approx(0.1)
    assert found["mean of G(z)"] == pytest.approx(4, abs=0.01)
    assert found["Jensen-Shannon divergence from the data, nats"] < 0.002


def test_the_jensen_shannon_divergence_is_zero_for_equal_and_log_2_for_disjoint_densities() -> None:
    p, q = np.array([0.0, 1, 3, 0]), np.array([2.0, 0, 0, 5])
    assert jensen_shannon(p, 7 * p) == pytest.approx(0, abs=1e-15)
    assert jensen_shannon(p, q) == pytest.approx(math.log(2))
    half = np.array([1.0, 1]), np.array([1.0, 0])
    far = short(LINES[1])[0]
    lost = measures(LINES[1], far._replace(many=np.full_like(far.many, 1e6)))  # beyond the window
    assert lost["Jensen-Shannon divergence from the data, nats"] == pytest.approx(math.log(2), abs=1e-6)
    assert jensen_shannon(*half) == pytest.approx(0.5 * (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)))


# Pictures and command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", [LINES[0], MADE["ring"]], ids=["line", "plane"])
def test_pictures_show_as_many_stages_as_asked_for_and_change_with_what_they_show(toy: Toy) -> None:
    views = short(toy)
    still = Image.open(io.BytesIO(figure.stages(toy, views)))
    single = Image.open(io.BytesIO(figure.stages(toy, views[:1])))
    assert still.size[0] > 1.8 * single.size[0]
    frames = figure.animation_frames(toy, views, held=3)
    assert frames.shape[0] == 5
    assert frames.shape[3] == 3
    assert (frames[0] != frames[1]).any()
    assert (frames[1] == frames[-1]).all()
    gone = views[1]._replace(push=np.zeros_like(views[1].push))
    assert (figure.animation_frames(toy, [views[1]], held=0) != figure.animation_frames(toy, [gone], held=0)).any()


def test_the_command_writes_both_pictures_and_the_same_ones_again(tmp_path: Path, capsys) -> None:
    words = ["gaussian-1d", "--setting", "b", "--steps", "4", "--frames", "3", "--stages", "0", "1"]
    for name in ("one", "two"):
        assert command.main([*words, "--out", str(tmp_path / name)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"after rounds +0 +4\n", printed)
    with open(tmp_path / "one" / "measures.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["rounds"] for row in rows] == ["0", "2", "4"]
    (words_of_one,) = (words for words in rows[0] if "Jensen-Shannon" in words)
    first, last = (f"{float(rows[at][words_of_one]):.4g}" for at in (0, -1))
    assert re.search(rf"{words_of_one} +{first} +{last}\n", printed)
    for picture in ("stages.png", "progress.gif"):
        one, two = ((tmp_path / name / picture).read_bytes() for name in ("one", "two"))
        assert one == two
    with Image.open(tmp_path / "one" / "progress.gif") as animation:
        assert animation.n_frames > 2
    with pytest.raises(UsageError, match="holds what a toy has left"):
        command.main([*words, "--out", str(tmp_path / "one")])
    assert command.main([*words, "--frames", "0", "--out", str(tmp_path / "one"), "--overwrite"]) == 0
    assert not (tmp_path / "one" / "progress.gif").exists()  # which showed the toy before
    (tmp_path / "one" / "config.toml").touch()
    with pytest.raises(UsageError, match=r"holds a run of minigan\.train"):
        command.main([*words, "--out", str(tmp_path / "one"), "--overwrite"])


def test_somebody_who_stops_it_gets_what_there_is(tmp_path: Path, capsys, monkeypatch) -> None:
    def play_seven(*words: Any) -> Iterator[Any]:
        for step, g, d in rounds(*words):
            if step == 7:
                signal.raise_signal(signal.SIGINT)
            yield step, g, d

    monkeypatch.setattr("minigan.toys.training.rounds", play_seven)
    words = ["ring", "--steps", "400", "--frames", "101", "--stages", "0", "0.01", "1", "--batch-size", "20"]
    assert command.main([*words, "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr().out
    assert re.search(r"after rounds +0 +4 +7\n", printed)
    assert "stopped after 7 of 400 rounds" in printed
    assert [line.split(",")[0] for line in (tmp_path / "measures.csv").read_text().splitlines()[1:]] == ["0", "4", "7"]
    assert (tmp_path / "stages.png").exists()
    with Image.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames >= 2


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where a shell has started the tests in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_each_view_is_drawn_once_and_somebody_who_stops_that_leaves_at_once(tmp_path: Path, monkeypatch) -> None:
    drawn = []

    def render(toy: Any, views: Any, dpi: int) -> bytes:
        drawn.append([view.step for view in views])
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(toy, views, dpi)

    real = figure._render
    monkeypatch.setattr(figure, "_render", render)
    words = ["ring", "--steps", "3", "--frames", "40", "--stages", "0", "1", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        command.main(words)
    assert drawn == [[0, 3], [0], [1]]
    assert (tmp_path / "stages.png").exists()
    assert command.main([*words, "--overwrite"]) == 0
    assert drawn[3:] == [[0, 3], [0], [1], [2], [3]]


def test_a_folder_that_cannot_be_written_to_is_refused_before_it_trains(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("minigan.toys.training.rounds", None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        command.main(["ring", "--out", str(tmp_path / "file" / "run")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rings"], "rings"),
        (["--steps", "0"], "--steps 0 is out of range: allowed are 1 to 1e\\+06"),
        (["--lr", "nan"], "--lr nan is out of range"),
        (["--seed", "-1"], "--seed -1"),
        (["--stages", "2"], "--stages takes one to eight shares"),
        (["ring", "--setting", "a"], "--setting a is not one of ring: there is wgan-gp, pacgan, unrolled"),
        (["swiss-roll", "--setting", "b"], "--setting b is not one of swiss-roll: there is wgan-gp"),
        (["--step", "3"], "did you mean --steps"),
        (["ring", "--unroll", "3"], "--unroll goes with --setting unrolled"),
        (["ring", "--setting", "unrolled", "--unroll", "-1"], "--unroll -1 is out of range"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        command.main(words)


def test_numbers_that_run_away_are_reported_with_what_to_try_in_the_same_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not finite after \d+ rounds: try a lower --lr than 1e\+06"):
        command.main(["ring", "--lr", "1e6", "--steps", "30", "--out", str(tmp_path)])
    again = ["ring", "--steps", "3", "--frames", "0", "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="holds what a toy has left"):  # its measures until then
        command.main(again)
    assert command.main([*again, "--overwrite"]) == 0


def test_on_a_terminal_there_is_a_bar_from_the_first_round_on(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    words = ["gaussian-1d", "--steps", "4", "--frames", "0"]
    assert command.main([*words, "--stages", "1", "--out", str(tmp_path / "one")]) == 0  # nothing is measured before
    assert command.main([*words, "--stages", "0", "0.5", "--out", str(tmp_path / "two")]) == 0
    printed = capsys.readouterr()
    assert "/4 [" in printed.err
    assert re.findall(r"after rounds +(.*)\n", printed.out) == ["4", "0           2"]


def test_g_looks_as_far_ahead_as_it_is_told(tmp_path: Path, capsys) -> None:
    words = ["ring", "--setting", "unrolled", "--steps", "2", "--batch-size", "8", "--frames", "0"]
    for unroll in ([], ["--unroll", "3"]):
        assert command.main([*words, *unroll, "--out", str(tmp_path / str(len(unroll)))]) == 0
    said = capsys.readouterr().out
    assert "G looks 10 of D's updates ahead" in said
    assert "G looks 3 of D's updates ahead" in said
    ten, three = ((tmp_path / name / "measures.csv").read_text() for name in ("0", "2"))
    assert ten != three
