"""Whether the parts of a recipe, which may be anybody's, fit together."""

from minigan.errors import UserError
from minigan.games import Game, OwnRound
from minigan.optim import Optimiser
from minigan.recipes.cost import networks
from minigan.recipes.recipe import Recipe
from minigan.typing import Shape


def check_fit(recipe: Recipe, image_shape: Shape) -> None:
    """Raises UserError for a G whose samples are no images of this shape, for rules or a game of another kind,
    and for a D whose logits the game is not made for."""
    (g, g_in), (d, d_in) = networks(recipe, image_shape)
    rules, game, wrong = recipe.optimisers(1), recipe.game(), ""
    if (made := g.out_shape(g_in)) != d_in:
        wrong = f"G makes samples of shape {made}, but the images that D sees are {d_in} (see sample_shape)"
    elif not (isinstance(rules, tuple | list) and [isinstance(rule, Optimiser) for rule in rules] == [True, True]):
        wrong = f"optimisers() must return two update rules, of G and of D, got {rules!r}"
    elif not isinstance(game, Game | OwnRound):
        wrong = f"game() must return a Game or an OwnRound, got {type(game).__name__}"
    elif isinstance(game, Game) and game.order == "simultaneous" and (logits := d.out_shape(d_in)) != (1,):
        wrong = f"D gives {logits} for a sample, but in a simultaneous round both losses reach it through one logit"
    if wrong:
        raise UserError(f"the recipe {recipe.name}: {wrong}")
