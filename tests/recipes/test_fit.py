"""Recipes whose parts do not fit together, or do so and are hardly meant."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

from minigan import games, nn
from minigan.errors import DataError, UserError
from minigan.recipes import CDCGAN28, RECIPES, MLPMnist
from minigan.recipes.fit import check_fit, check_labels, doubts
from tests.recipes.ahead import AHEAD
from tests.recipes.told import ToldMLP

SHAPE = (6, 6, 1)


@dataclass(frozen=True)
class Own(MLPMnist):
    """Of other parts, where they are given."""

    def __post_init__(self):
        pass

    def generator(self, images):
        return nn.Sequential(nn.Dense(36), PARTS.get("g", nn.Tanh()), nn.Flatten())

    def discriminator(self, images):
        return nn.Sequential(nn.Dense(PARTS.get("logits", 1)), *PARTS.get("d", ()))

    def game(self):
        return PARTS.get("game", games.Game(games.non_saturating()))


PARTS = {}
UNHELD = games.Game(games.WASSERSTEIN)
PENALISED = games.Game(games.WASSERSTEIN, penalty=games.wgan_gp())


@pytest.fixture
def own():
    PARTS.clear()
    yield Own()
    PARTS.clear()


def test_a_recipe_that_tells_of_classes_needs_them():
    recipe = CDCGAN28(classes=4)
    check_labels(recipe, np.array([0, 3, 1]), "folder:x")
    check_labels(MLPMnist(), None, "folder:x")
    with pytest.raises(DataError, match="cdcgan-28 has to know the class of each image, and folder:x does not tell: a"):
        check_labels(recipe, None, "folder:x")
    with pytest.raises(DataError, match="cdcgan-28 is told of 4 classes, and folder:x has 6: --classes 6"):
        check_labels(recipe, np.array([0, 5], np.uint8), "folder:x")
    with pytest.raises(DataError, match="told-mlp is told of 3 classes, and folder:x has 6, of which its `cond"):
        check_labels(ToldMLP(), np.array([0, 5], np.uint8), "folder:x")


def test_classes_that_would_be_kept_back_are_refused():
    """Folders come class by class; of small sets nothing is kept back."""
    few, many = np.repeat(np.arange(10), 12), np.repeat(np.arange(10), 7000)
    check_labels(CDCGAN28(), few, "folder:x")
    assert len(CDCGAN28().training_part(few)) == 120
    with pytest.raises(DataError, match="no image of class 9 of folder:x would be trained on: cdcgan-28 keeps"):
        check_labels(CDCGAN28(), many, "folder:x")
    check_labels(CDCGAN28(holdout=0), many, "folder:x")


@pytest.mark.parametrize("condition", [0, 2, 5])
def test_what_networks_begin_with_is_what_they_are_told(condition):
    class Odd(ToldMLP):
        @property
        def condition(self):
            return condition

        def generator(self, images):
            return nn.Sequential(nn.Conditioned(3, nn.Dense(36 + condition - 3), nn.Tanh()))

    with pytest.raises(UserError, match=f"its condition is {condition}, so .*, but G begins with nn.Conditioned.3"):
        check_fit(Odd(), SHAPE)


def test_a_d_that_is_told_by_its_first_layer_alone_is_refused():
    """What it is told could not be told from what it sees."""

    class Plain(ToldMLP):
        def discriminator(self, images):
            return nn.Sequential(nn.Dense(8), nn.LeakyReLU(), nn.Dense(1))

    with pytest.raises(UserError, match=r"so D begins with nn.Conditioned\(3, ...\), but D takes no condition"):
        check_fit(Plain(), SHAPE)


def test_a_g_that_keeps_the_class_to_itself_is_told_what_passes_it_on():
    class Silent(ToldMLP):
        def generator(self, images):
            return nn.Sequential(nn.Dense(36), nn.Tanh())

    with pytest.raises(UserError, match=r"G makes samples of shape \(36,\), but .* \(39,\) \(nn.Conditioned passes"):
        check_fit(Silent(), SHAPE)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (dataclasses.replace(AHEAD, decay=0.1), "no way back through a rule with a weight_decay"),
        (dataclasses.replace(AHEAD, ghosts=True), "GhostBatchNorm, a layer of D, has no double_backward"),
    ],
)
def test_a_d_through_which_nobody_can_look_ahead_is_refused(recipe, words):
    with pytest.raises(UserError, match=f"ahead-mlp: its G looks ahead, through updates of D, and .*{words}"):
        check_fit(recipe, SHAPE)
    check_fit(dataclasses.replace(recipe, unroll=0), SHAPE)


@pytest.mark.parametrize("name", RECIPES)
def test_our_own_recipes_leave_no_doubt(name):
    recipe = RECIPES[name]()
    shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    check_fit(recipe, shape)
    assert doubts(recipe, shape) == []


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"g": nn.Sigmoid()}, "G ends in Sigmoid, which makes 0 to 1, but D sees real pixels from -1 to 1"),
        ({"g": nn.Sequential(nn.Sigmoid())}, "G ends in Sigmoid"),
        ({"d": (nn.Sigmoid(),)}, "D ends in Sigmoid, but the losses take logits"),
        ({"logits": 2}, "D gives 2 logits for a sample"),
        (
            {"d": (nn.BatchNorm(), nn.Dense(1)), "game": PENALISED},
            "D has BatchNorm or the like, and its game a penalty",
        ),
        ({"game": games.Game(games.WASSERSTEIN)}, "nothing holds the critic's scores, such as a penalty"),
    ],
)
def test_what_trains_and_is_hardly_meant_is_told(own, parts, words):
    assert own.low == -1
    assert doubts(own, SHAPE) == []
    PARTS.update(parts)
    (told,) = doubts(own, SHAPE)
    assert told.startswith(words)


def test_a_d_with_a_sigmoid_may_be_right_in_a_round_of_its_own(own):
    PARTS.update(d=(nn.Sigmoid(),), game=games.OwnRound())
    assert doubts(own, SHAPE) == []


@pytest.mark.usefixtures("own")
def test_no_network_at_all_is_one_line():
    class Forgets(Own):
        def discriminator(self, images):
            self.generator(images)

    with pytest.raises(UserError, match=r"discriminator\(\) must return a network, got None"):
        check_fit(Forgets(), SHAPE)


def test_a_penalty_needs_layers_that_can_be_differentiated_twice(own):
    class Mine(nn.Layer):
        """Without a double_backward."""

        def forward(self, theta, x, *, train, rng=None):
            return x, None

        def backward(self, theta, dy, cache, grads, *, need_dx=True):
            return dy

    PARTS.update(d=(nn.Sequential(nn.LeakyReLU(), Mine()),), game=games.Game(games.HINGE))
    check_fit(own, SHAPE)
    PARTS["game"] = PENALISED
    with pytest.raises(UserError, match="a penalty on gradients, and Mine, a layer of D, has no double_backward"):
        check_fit(own, SHAPE)


def test_a_penalty_is_on_the_gradient_of_one_logit(own):
    PARTS.update(logits=2, game=PENALISED)
    with pytest.raises(UserError, match=r"D gives \(2,\) for a sample, but a penalty on gradients is one on"):
        check_fit(own, SHAPE)
