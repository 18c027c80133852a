"""What a recipe costs, counted from its networks: parameters, and multiply-adds of a round."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minigan.games import Game, OwnRound, UnrolledGame
from minigan.games.toolbox import ToolboxGame
from minigan.nn import BatchNorm, Conditioned, Layer, Sequential
from minigan.nn.activations import Activation
from minigan.recipes.recipe import Recipe
from minigan.typing import Shape


@dataclass(frozen=True)
class Cost:
    """Numbers of one network pair; macs count the matrix products of one image or one round."""

    parameters: tuple[int, int]  # of G, of D
    image_macs: tuple[int, int]  # forward, of G and of D
    round_macs: int  # everything that a round computes, for the whole batch


def cost(recipe: Recipe, image_shape: Shape) -> Cost:
    r"""Count a recipe for images (H, W, C).

    With F a forward pass, a backward pass costs F for the weights and F for the input; the first
    layer's input gradient is left out where nobody needs it (F' = F without the first layer).
    A round of k steps of D and one of G is, for each image of the batch,

    .. math:: k\,(F_G + 2 F_D + 2 F_D + 2 F_D') + (F_G + F_D + F_D + F_G + F_G')

    without the second :math:`F_G` where fakes are used again. A simultaneous round has one forward
    pass of each kind, and where D has no BatchNorm one backward pass serves both players
    (`games.simultaneous.backward_for_both`). The copy of D that learns beside G in toolbox-mlp
    costs one more :math:`F_D`. A penalty on gradients costs :math:`4 F_D` in each step of D: forward, back to x,
    forward again with the weight gradients; and of the layers before the last bent one another way back. Each update
    of D that G looks at costs about :math:`24 F_D`, 12 for each of both batches (docs/gan/unrolled.md).
    """
    (g, g_in), (d, d_in) = networks(recipe, image_shape)
    forward_g, forward_d = g.macs(g_in), d.macs(d_in)
    later_g, later_d = forward_g - first_macs(g, g_in), forward_d - first_macs(d, d_in)
    d_step = 2 * forward_d + 2 * forward_d + 2 * later_d  # forward, weights, inputs: real and fake
    g_step = forward_d + forward_d + forward_g + later_g  # through D and back, then G's backward
    game = recipe.game()
    per_image = game.d_steps * d_step + g_step + generated(game) * forward_g
    if game.penalty is not None:
        per_image += game.d_steps * (4 * forward_d + 2 * _macs_before_bends(d, d_in))
    if game.order == "simultaneous":
        per_image -= forward_d  # D has seen the fakes already
        per_image -= 0 if d.mixes_samples else later_d  # and one way back serves both
    if isinstance(game, UnrolledGame):
        per_image += 24 * game.unroll * forward_d
    if isinstance(game, ToolboxGame) and game.copy != "frozen":
        per_image += forward_d  # the copy's weight gradients
    return Cost((size(g, g_in), size(d, d_in)), (forward_g, forward_d), per_image * recipe.batch_size)


def _macs_before_bends(net: Layer, in_shape: Shape) -> int:
    """Multiply-adds of the layers before the last one whose slope depends smoothly on its input."""
    total = before = 0
    for layer, shape, _ in single_layers(net, in_shape):
        if bends(layer):
            before = total
        total += layer.macs(shape)
    return before


def bends(layer: Layer) -> bool:
    """Whether its slope depends smoothly on its input; one of your own is taken for straight."""
    return isinstance(layer, BatchNorm) or (isinstance(layer, Activation) and type(layer).bend is not Activation.bend)


def single_layers(net: Layer, in_shape: Shape, joints: bool = False) -> Iterator[tuple[Layer, Shape, Shape]]:
    """(layer, input shape, output shape) one after the other, also of networks within.

    joints: behind the layers of a Conditioned also itself, which puts the condition beside what they have made.
    """
    if not isinstance(net, Sequential):
        yield net, in_shape, net.out_shape(in_shape)
        return
    for _, layer, before, _ in net.shapes(in_shape):
        yield from single_layers(layer, before, joints)
    if joints and isinstance(net, Conditioned):
        yield net, net.made_shape(in_shape), net.out_shape(in_shape)


def networks(recipe: Recipe, image_shape: Shape) -> tuple[tuple[Layer, Shape], tuple[Layer, Shape]]:
    """G and D for images (H, W, C), each with the shape of its input."""
    images = np.zeros((1, *image_shape), np.uint8)
    g, d = recipe.generator(images), recipe.discriminator(images)
    return (g, recipe.latent_shape), (d, recipe.judged_shape(image_shape))


def generated(game: Game | OwnRound) -> int:
    """Forward passes of G in a round."""
    if game.order == "simultaneous":
        return 1
    if game.reuse_fakes:
        return 1 if game.order == "generator-first" else game.d_steps
    return game.d_steps + 1


def first_macs(net: Sequential | Layer, in_shape: Shape) -> int:
    """Multiply-adds of the first layer with parameters, whose input gradient a player does not need."""
    for layer, shape, _ in single_layers(net, in_shape) if isinstance(net, Sequential) else []:
        if layer.param_shapes(shape):
            return layer.macs(shape)
    return 0


def size(net: Layer, in_shape: Shape) -> int:
    """Number of trained parameters."""
    return sum(map(math.prod, net.param_shapes(in_shape).values()))
