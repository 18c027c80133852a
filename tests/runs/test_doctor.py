"""The doctor: each diagnosis provoked in a run that is really trained, and none in healthy ones."""

import dataclasses
import re
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from minigan.backend import CPU
from minigan.data.sources import load_images
from minigan.evaluation import material
from minigan.games import WASSERSTEIN, Game, minimax, non_saturating
from minigan.ops import fast_kernels
from minigan.recipes import DCGAN64, MLP2014, WGANGP28, MLPMnist, ToolboxMLP
from minigan.recipes.registry import RECIPES
from minigan.runs import pictures
from minigan.runs.config import has_critic
from minigan.runs.doctor import WINDOW, course, diagnose, in_a_word
from minigan.runs.folder import RunFolder
from minigan.runs.health import NotFiniteError
from minigan.runs.options import RunOptions
from minigan.runs.progress import describe
from minigan.runs.trainer import Trainer
from minigan.runs.vitals import BINS, Vitals

SMALL = MLPMnist(batch_size=32, hidden_g=(16, 32), hidden_d=(32, 16))
OLD = MLP2014(batch_size=50, hidden_g=60, hidden_d=12, drop_input=0, drop_hidden=0, weights_d=0.05)
TOOLBOX = ToolboxMLP(batch_size=200, minibatch=50, hidden_d=20)


@dataclass(frozen=True)
class Minimax(MLPMnist):
    """G's half of equation 1 as it stands."""

    def game(self):
        return Game(minimax(self.smoothing))


@pytest.fixture(scope="module")
def digits():
    """Real digits of 14 x 14 pixels."""
    return load_images("mnist5k").images[:2000, ::2, ::2]


@pytest.fixture(autouse=True)
def only_training(monkeypatch):
    """Pictures and classes take longer than the training here."""
    for name in ("save_png", "save_animation", "save_curves"):
        monkeypatch.setattr(pictures, name, lambda *_args, **_options: None)
    monkeypatch.setattr(material, "classifier_name", lambda _source, _shape: None)


def train(path, recipe, images, steps, **options):
    """A run of so many rounds, or as many as it survives."""
    folder = RunFolder(path)
    folder.open()
    chosen = {"log_every": 2, "snapshot_every": 20, "checkpoint_every": 10**6, "steps": steps} | options
    run = Trainer(recipe, RunOptions(**chosen), folder, CPU, images)
    try:
        with fast_kernels(1):
            run.run()
    except NotFiniteError as err:
        run.last_words = str(err)
    finally:
        folder.close()
    return run


def change(recipe, **constants):
    return dataclasses.replace(recipe, **constants)


# What is provoked: the recipe, the rounds, and what the evidence must name.
SICK = {
    "the numbers explode": (change(OLD, lr=3.0), 60, r"the loss of [DG] is \d.*e\+"),
    "G's gradient has vanished": (
        Minimax(**vars(change(SMALL, lr_d=5e-3, lr_g=1e-5, drop=0.0, smoothing=0.0))), 100,
        r"^D\(G\(z\)\) is 0\.000\d+, .* would change its loss \(-0\.000\d+\) by 0\.000\d at most$",
    ),
    "G has collapsed": (change(SMALL, lr_g=0.5, lr_d=0.01), 180, r"is \d% of the data's; it has been 1\d\d%$"),
    "D is too strong": (change(SMALL, lr_d=5e-3, lr_g=1e-5, drop=0.0, smoothing=0.0), 100, r"^D\(x\) is 1\.00 .* 0\.0"),
    "rectifiers are dead": (change(SMALL, slope=0.0, lr_d=0.1), 60, r"^\d\d% of the units of leakyrelu\d of D are 0"),
    "a layer is saturated": (
        change(TOOLBOX, lr=10.0, momentum=0.9, loss="cross-entropy"), 20, r"^9\d% of the outputs of sigmoid1 of D ",
    ),
    "the players oscillate": (
        change(OLD, lr=0.1, momentum=0.95, momentum_end=0.95, hidden_g=100, hidden_d=20, batch_size=100), 110,
        r"went between 0\.0\d and (0\.9\d|1\.00) .* \d+ times",
    ),
    "D sees no difference": (change(SMALL, lr_d=1e-9), 540, r"is -0\.\d+ on average .* changes dense1 of D by \de-09"),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_what_is_provoked_in_a_run_is_diagnosed_with_its_numbers(tmp_path, digits, name):
    recipe, steps, evidence = SICK[name]
    run = train(tmp_path, recipe, digits, steps)
    found = {diagnosis.name: diagnosis for diagnosis in run.diagnoses()}
    assert re.search(evidence, found[name].evidence), found
    assert len(set(found[name].remedies)) == 2


HEALTHY = {
    "mlp-mnist": (MLPMnist(), 1, 300),
    "mlp-2014": (change(OLD, drop_input=0.2, drop_hidden=0.5), 2, 300),
    "toolbox-mlp": (TOOLBOX, 2, 60),
    "dcgan-64": (DCGAN64(size=(16, 16), width=4, batch_size=16), 2, 40),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_in_a_healthy_run_nothing_is_found_at_any_time(tmp_path, name):
    recipe, shrunk, steps = HEALTHY[name]
    images = load_images("mnist5k", size=recipe.image_size).images
    run = train(tmp_path, recipe, images if recipe.image_size else images[:, ::shrunk, ::shrunk], steps)
    assert (run.state.step, len(run.vitals)) == (steps, steps // 20)
    assert course(run.rows, run.vitals) == {}


def test_the_minimax_loss_is_blamed_for_a_vanished_gradient_and_the_usual_one_is_not(tmp_path, digits):
    """The usual loss pulls hard where D is sure, so the same D far ahead leaves the gradient alone."""
    for kind, vanished in ((Minimax, True), (MLPMnist, False)):
        run = train(tmp_path / kind.__name__, kind(**vars(SICK["D is too strong"][0])), digits, 100)
        found = {diagnosis.name: diagnosis for diagnosis in run.diagnoses()}
        assert "D is too strong" in found
        assert ("G's gradient has vanished" in found) == vanished
        if vanished:
            assert "-log D(G(z))" in found["G's gradient has vanished"].remedies[0]


def test_a_run_that_explodes_ends_with_the_doctors_word_on_one_line(tmp_path, digits):
    run = train(tmp_path, *(SICK["the numbers explode"][0], digits, 60))
    assert re.fullmatch(
        r"step \d+: the loss is not finite .*; before that, the numbers explode: the loss .*", run.last_words
    )


# Rules on numbers made up ---------------------------------------------------------------------------------


def rows(count=WINDOW, every=10, **values):
    usual = {"loss_d": 1.2, "loss_g": 0.9, "d_real": 0.6, "d_fake": 0.4, "d_fake_g": 0.4}
    return [{"step": float(every * (n + 1))} | usual | values for n in range(count)]


def vitals(step=250, spread=1.0, classes=None, pull=10.0, updates=0.001, dead=0.0, flat=0.0, output=0.0):
    both = {"G": {"dense1": pull, "dense2": pull}, "D": {"dense1": 1.0}}
    counts = [0] * (BINS - 1) + [100]
    return Vitals(
        step, both, {"G": {"dense1": 0.001}, "D": {"dense1": updates}}, {"G": {"dense1": 1.0, "dense2": 1.0}, "D": {}},
        {"G": {"relu1": dead}, "D": {}}, {"G": {"tanh1": flat, "sigmoid1": output}, "D": {}},
        counts, counts, spread, classes,
    )  # fmt: skip


def names(rows, vitals=()):
    return [diagnosis.name for diagnosis in diagnose(rows, vitals)]


ALL, ONE, SOME = [10] * 10, [100] + [0] * 9, [60, 40] + [0] * 8


@pytest.mark.parametrize(
    ("rows", "vitals", "expected"),
    [
        ([], [], []),
        (rows(), [], []),
        (rows(), [vitals()], []),
        (rows(loss_g=-101.0), [], ["the numbers explode"]),
        (rows(loss_g=99.0), [], []),
        (rows(), [vitals(updates=0.51)], ["the numbers explode"]),
        (rows(), [vitals(updates=0.51), vitals()], []),
        (rows(d_fake_g=0.009), [vitals(pull=0.09)], ["G's gradient has vanished"]),
        (rows(d_fake_g=0.009), [vitals(pull=0.11)], []),
        (rows(d_fake_g=0.02), [vitals(pull=0.0)], []),
        (rows(d_real=0.9, d_fake=0.009), [], ["D is too strong"]),
        (rows(d_real=0.9, d_fake=0.011), [], []),
        (rows(d_real=0.7, d_fake=0.0), [], []),
        (rows(WINDOW - 1, d_real=0.9, d_fake=0.0), [], []),
        (rows(), [vitals(dead=0.5)], ["rectifiers are dead"]),
        (rows(), [vitals(dead=0.49)], []),
        (rows(), [vitals(flat=0.9)], ["a layer is saturated"]),
        (rows(), [vitals(output=1.0)], []),  # the pixels
        (rows(), [vitals(spread=s) for s in (0.1, 1.0, 0.3, 0.2)], ["G has collapsed"]),
        (rows(), [vitals(spread=s) for s in (1.0, 0.3, 0.4)], []),
        (rows(), [vitals(spread=s) for s in (0.0, 0.1, 0.1)], []),  # has not begun
        (rows(), [vitals(5000, spread=s) for s in (0.0, 0.1, 0.1)], ["G has collapsed"]),  # ... and never will
        (rows(), [vitals(classes=c) for c in (ALL, ONE, SOME)], ["G has collapsed"]),
        (rows(), [vitals(classes=c) for c in (ALL, ONE, ALL)], []),
        (rows(), [vitals(classes=c) for c in (SOME, ONE, ONE)], []),  # has not learnt them yet
        (rows(51, d_fake=0.59), [], ["D sees no difference"]),
        (rows(50, d_fake=0.59), [], []),
        (rows(51, d_fake=0.57), [], []),
        (rows(21, every=100, d_fake=0.59), [], ["D sees no difference"]),
        ([r | {"d_fake": n % 2} for n, r in enumerate(rows())], [], ["the players oscillate"]),
        ([r | {"d_fake": n // 10} for n, r in enumerate(rows())], [], []),  # once is no oscillation
        ([r | {"d_fake": 0.2 + 0.5 * (n % 2)} for n, r in enumerate(rows())], [], []),
    ],
)  # fmt: skip
def test_rules_hold_up_to_their_thresholds(rows, vitals, expected):
    assert names(rows, vitals) == expected


def test_only_the_last_rows_count():
    assert names(rows(d_real=0.99, d_fake=0.0) + rows(1, d_fake=0.5)) == []


def test_the_most_serious_comes_first():
    found = names(rows(loss_g=500.0, d_real=0.99, d_fake=0.0, d_fake_g=0.0), [vitals(pull=0.0, dead=1.0)])
    assert found == ["the numbers explode", "G's gradient has vanished", "D is too strong", "rectifiers are dead"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no measurements yet"),
        (rows(), "balanced"),
        (rows(d_real=0.9, d_fake=0.2), "D is ahead"),
        (rows(d_real=0.9, d_fake=0.0), "D is too strong"),
    ],
)
def test_a_run_in_a_word(rows, words):
    assert in_a_word(rows, diagnose(rows, []), critic=False) == words


def test_the_course_of_a_run_names_first_and_last_round_by_what_was_known_then():
    run = rows() + [row | {"step": row["step"] + 200.0} for row in rows(d_real=0.9, d_fake=0.0)]
    run += [row | {"step": row["step"] + 400.0} for row in rows()]
    seen = [vitals(100), vitals(300, dead=0.9), vitals(390)]
    assert course(run, seen) == {"rectifiers are dead": (300, 380), "D is too strong": (400, 400)}
    assert course([], seen) == {}


# Critics --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossOfChoice(MLPMnist):
    """A critic only if it is asked for."""

    name = "loss-of-choice"
    wasserstein: bool = False

    def game(self):
        return Game(WASSERSTEIN if self.wasserstein else non_saturating())


def test_of_a_critic_nothing_is_said_by_what_its_scores_look_like_as_probabilities():
    """Each of these would be a diagnosis of a D whose scores are logits."""
    sure = rows(d_real=1.0, d_fake=0.0, d_fake_g=0.0)
    alike = rows(60, d_real=0.5, d_fake=0.5)
    far = rows(loss_d=-250.0, loss_g=400.0)
    for signs in (sure, alike, far):
        assert diagnose(signs, [])
        assert diagnose(signs, [], critic=True) == []
        assert course(signs, [], critic=True) == {}


def test_the_layers_of_a_critic_are_looked_at_like_others():
    late = vitals(updates=0.9)
    assert [found.name for found in diagnose(rows(), [late], critic=True)] == ["the numbers explode"]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([-4.0] * 30, "scores are 4 apart"),
        ([-4.0] * 20 + [-3.0] * 20, "scores are 3 apart, less than before"),
        ([-3.0] * 20 + [-4.0] * 20, "scores are 4 apart, more than before"),
        ([-4.0] * 20 + [-4.01] * 20, "scores are 4.01 apart"),
        ([-4.0] * 20 + [0.5] * 20, "the critic gives real images no more than others"),
    ],
)
def test_a_critic_tells_how_far_its_scores_are_apart(losses, words):
    history = [row | {"loss_d": loss} for row, loss in zip(rows(len(losses)), losses, strict=True)]
    assert in_a_word(history, [], critic=True) == words
    line = describe(history, [], critic=True)
    assert line.endswith(words)
    assert "D(" not in line


def test_a_run_with_a_critic_is_told_and_drawn_without_opinions(tmp_path):
    recipe = WGANGP28(batch_size=4, latent=3, width=1, d_steps=1)
    run = train(tmp_path, recipe, load_images("mnist5k").images[:40], 40)
    assert (run.state.step, run.diagnoses()) == (40, [])


def test_whether_d_is_a_critic_is_known_by_the_runs_own_settings(tmp_path):
    config = tmp_path / "config.toml"
    assert not has_critic(config)  # there is none
    for text, answer in (("wgan-gp-28", True), ("mlp-mnist", False), ("of somebody else", False), ('"', False)):
        config.write_text(f'recipe = "{text}"\n[constants]\nbatch_size = 4\n')
        assert has_critic(config) == answer
    config.write_text('recipe = "loss-of-choice"\n[constants]\nwasserstein = true\n')
    with patch.dict(RECIPES, {"loss-of-choice": LossOfChoice}):
        assert has_critic(config)
        config.write_text('recipe = "loss-of-choice"\n')
        assert not has_critic(config)
