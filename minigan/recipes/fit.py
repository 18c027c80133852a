"""Whether the parts of a recipe, which may be anybody's, fit together."""

import numpy as np

from minigan.errors import DataError, UserError
from minigan.games import Game, OwnRound, UnrolledGame
from minigan.games.unrolled import no_way_back
from minigan.nn import Flatten, Layer, Reshape, ScaledTanh, Sequential, Sigmoid, Tanh, without_second_gradient
from minigan.optim import Optimiser
from minigan.recipes.cost import networks
from minigan.recipes.recipe import Recipe
from minigan.typing import Shape


def check_fit(recipe: Recipe, image_shape: Shape) -> None:
    """Raises UserError for a G whose samples are no images of this shape, for rules or a game of another kind,
    and for a D whose logits the game is not made for."""
    blank = np.zeros((1, *image_shape), np.uint8)
    for method in (recipe.generator, recipe.discriminator):
        if not isinstance(net := method(blank), Layer):
            raise UserError(f"the recipe {recipe.name}: {method.__name__}() must return a network, got {net!r}")
    (g, g_in), (d, d_in) = networks(recipe, image_shape)
    rules, game, wrong = recipe.optimisers(1), recipe.game(), ""
    if (made := g.out_shape(g_in)) != d_in:
        hint = "nn.Conditioned passes the condition on" if recipe.condition else "see sample_shape"
        wrong = f"G makes samples of shape {made}, but the images that D sees are {d_in} ({hint})"
    elif not (isinstance(rules, tuple | list) and [isinstance(rule, Optimiser) for rule in rules] == [True, True]):
        wrong = f"optimisers() must return two update rules, of G and of D, got {rules!r}"
    elif not isinstance(game, Game | OwnRound):
        wrong = f"game() must return a Game or an OwnRound, got {type(game).__name__}"
    elif isinstance(game, Game) and game.order == "simultaneous" and (logits := d.out_shape(d_in)) != (1,):
        wrong = f"D gives {logits} for a sample, but in a simultaneous round both losses reach it through one logit"
    elif game.penalty is not None and (kind := without_second_gradient(d)):
        wrong = f"its game has a penalty on gradients, and {kind}, a layer of D, has no double_backward"
    elif game.penalty is not None and (logits := d.out_shape(d_in)) != (1,):
        wrong = f"D gives {logits} for a sample, but a penalty on gradients is one on the gradient of one logit"
    elif isinstance(game, UnrolledGame) and (obstacle := _not_unrolled(game, rules[1], d)):
        wrong = f"its G looks ahead, through updates of D, and {obstacle}"
    elif told := _wrongly_told(recipe.condition, g, d):
        wrong = told
    if wrong:
        raise UserError(f"the recipe {recipe.name}: {wrong}")


def _not_unrolled(game: UnrolledGame, rule: Optimiser, d: Layer) -> str:
    """Why there is no way back through updates of this D."""
    if not game.unroll:
        return ""
    if kind := without_second_gradient(d):
        return f"{kind}, a layer of D, has no double_backward"
    return no_way_back(rule)


def _wrongly_told(condition: int, g: Layer, d: Layer) -> str:
    """What is wrong where a network does not begin with what the recipe tells it, or begins with what nobody tells."""
    for name, net in {"G": g, "D": d}.items():
        if net.condition != condition:
            begins = f"begins with nn.Conditioned({net.condition}, ...)" if net.condition else "takes no condition"
            wanted = f"so {name} begins with nn.Conditioned({condition}, ...)" if condition else "so it is told nothing"
            return f"its condition is {condition}, {wanted}, but {name} {begins}"
    return ""


def check_labels(recipe: Recipe, labels: np.ndarray | None, source: str) -> None:
    """Raises DataError where a recipe tells its networks of classes, and the images have none, or more of them, or none
    to train on of some of them."""
    if not recipe.condition:
        return
    if labels is None:
        raise DataError(
            f"{recipe.name} has to know the class of each image, and {source} does not tell: a folder has one folder a "
            "class in it, an .npz file 'labels'"
        )
    if (classes := int(labels.max()) + 1) > recipe.condition:
        way = f": --classes {classes}" if hasattr(recipe, "classes") else ", of which its `condition` has to tell"
        raise DataError(f"{recipe.name} is told of {recipe.condition} classes, and {source} has {classes}{way}")
    if lost := set(np.unique(labels).tolist()) - set(np.unique(np.asarray(recipe.training_part(labels))).tolist()):
        raise DataError(
            f"no image of class {min(lost)} of {source} would be trained on: {recipe.name} keeps the last ones back, "
            "and the images come class by class (--holdout 0)"
        )


RANGES = {Sigmoid: (0.0, 1.0), Tanh: (-1.0, 1.0), ScaledTanh: (-1.7159, 1.7159)}  # of what a layer makes


def doubts(recipe: Recipe, image_shape: Shape) -> list[str]:
    """What can be meant so and seldom is, a line each: it trains, and the numbers look healthy."""
    (g, _), (d, d_in) = networks(recipe, image_shape)
    found, game, pixels = [], recipe.game(), (recipe.low, recipe.high)
    last = type(_last(g))
    if last in RANGES and RANGES[last] != pixels:
        made, seen = ("{:g} to {:g}".format(*each) for each in (RANGES[last], pixels))
        found.append(f"G ends in {last.__name__}, which makes {made}, but D sees real pixels from {seen} (low, high)")
    if isinstance(game, Game) and isinstance(_last(d), Sigmoid):
        found.append("D ends in Sigmoid, but the losses take logits, from before it: leave it out")
    if game.penalty is not None and d.mixes_samples:
        found.append(
            "D has BatchNorm or the like, and its game a penalty on the gradient of each sample, which is none of one "
            "sample then: leave it out of D"
        )
    if recipe.critic and game.penalty is None and recipe.optimisers(1)[1].max_weight is None:
        found.append(
            "nothing holds the critic's scores, such as a penalty (wgan_gp) or a limit to weights (max_weight)"
        )
    if (logits := d.out_shape(d_in)) != (1,) and len(logits) == 1:
        found.append(f"D gives {logits[0]} logits for a sample, each of which says whether it is real; no classes")
    return found


def _last(layer: Layer) -> Layer:
    """What computes the output."""
    while isinstance(layer, Sequential) and layer.layers:
        layer = next((inner for inner in reversed(layer.layers) if not isinstance(inner, Flatten | Reshape)), Flatten())
    return layer
