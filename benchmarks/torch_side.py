"""PyTorch in a process of its own, playing the same game: as it is published, tuned, or compiled.

Published is how pytorch/examples' dcgan does it: images channels first, cross-entropy of probabilities, and
in G's step D's weight gradients are computed and thrown away. Tuned: channels last, cross-entropy of
logits, D's parameters without gradients in G's step, fused updates, no graph of G where nobody goes back.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import largest
from benchmarks.minigan_side import CHECKED, without_dropout
from benchmarks.rounds import SEED, digits, fed, seconds_a_round, start
from benchmarks.torch_nets import Rule, net_of
from benchmarks.torch_toolbox import ToolboxMatch
from minigan.backend import CPU
from minigan.data.batches import Batches
from minigan.games import Draws, Game, GradientPenalty
from minigan.games.toolbox import shuffled
from minigan.recipes import Recipe, ToolboxMLP
from minigan.runs.draws import SeededDraws

TRIAL = 10  # rounds in each layout of images, to see which is the faster one
UNIFORM = {"mlp-2014": math.sqrt(3), "dcgan-28": 1.0, "cdcgan-28": 1.0}  # z is U(-a, a) there; else N(0, 1)


@dataclass(frozen=True)
class Variant:
    """What is done to make PyTorch fast."""

    tuned: bool
    compiled: bool = False
    channels_last: bool = True  # where it is tuned

    @property
    def layout(self) -> str:
        return "channels last" if self.tuned and self.channels_last else "channels first"


VARIANTS = {"published": Variant(False), "tuned": Variant(True), "compiled": Variant(True, compiled=True)}


class Source(Protocol):
    """Where a round's batches come from, by the number of D's step in the round."""

    def real(self, k: int) -> Tensor: ...
    def latent_d(self, k: int) -> Tensor: ...
    def latent_g(self) -> Tensor: ...
    def share(self, k: int) -> Tensor: ...  # of points between real and generated samples; where a penalty is
    def orders(self, k: int, count: int, size: int) -> Iterable[Tensor]: ...  # of samples in k's epoch; toolbox-mlp


@dataclass(frozen=True)
class Given:
    """Those that minigan draws, for comparing results."""

    draws: Draws
    device: torch.device

    def real(self, k: int) -> Tensor:
        x = torch.from_numpy(self.draws.real(k)).to(self.device)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x

    def latent_d(self, k: int) -> Tensor:
        return torch.from_numpy(self.draws.latent_d(k)).to(self.device)

    def latent_g(self) -> Tensor:
        return torch.from_numpy(self.draws.latent_g()).to(self.device)

    def share(self, k: int) -> Tensor:
        return torch.from_numpy(self.draws.share(k)).to(self.device)

    def orders(self, k: int, count: int, size: int) -> Iterable[Tensor]:
        return map(torch.from_numpy, shuffled(count, size, self.draws.dropout(k)))


class Drawn:
    """PyTorch's own: bytes that lie on the device become a fresh batch of numbers, latents come from its generator."""

    def __init__(self, recipe: Recipe, images: np.ndarray, device: torch.device, channels_last: bool) -> None:
        self._recipe, self._device, self._number = recipe, device, 0
        images = np.asarray(recipe.training_part(images))
        self._batches = Batches(len(images), recipe.batch_size, SEED)
        shape = recipe.sample_shape(images.shape[1:])
        pixels = torch.from_numpy(images.reshape(len(images), *shape))
        self._last = channels_last and len(shape) == 3
        if len(shape) == 3 and not channels_last:
            pixels = pixels.permute(0, 3, 1, 2).contiguous()
        self._pixels = pixels.to(device)
        self._codes = torch.from_numpy(recipe.codes(len(images))).to(device)  # of classes; (N, 0) where there are none

    def _indices(self) -> Tensor:
        """Of the present batch."""
        indices = torch.from_numpy(self._batches.indices(self._number))
        if self._device.type == "cuda":  # without page-locked memory the host would wait for the GPU in each round
            indices = indices.pin_memory().to(self._device, non_blocking=True)
        return indices

    def real(self, k: int) -> Tensor:
        indices = self._indices()
        self._number += 1
        x = self._pixels[indices].to(torch.float32)
        x.mul_((self._recipe.high - self._recipe.low) / 255).add_(self._recipe.low)
        if getattr(self._recipe, "scale_rows", False):
            x = stretched(x)
        x = x.permute(0, 3, 1, 2) if self._last else x
        if self._recipe.condition:
            y = self._codes[indices]
            x = torch.cat([x, y[:, :, None, None].expand(*y.shape, *x.shape[2:])], dim=1)
        return x

    def latent_d(self, k: int) -> Tensor:
        return self.latent_g()

    def latent_g(self) -> Tensor:
        z = torch.empty(self._recipe.batch_size, self._recipe.latent, device=self._device)
        half = UNIFORM.get(self._recipe.name)
        z = z.uniform_(-half, half) if half else z.normal_()
        if self._recipe.condition:
            z = torch.cat([z, self._codes[self._indices()]], dim=1)
        return stretched(z) if getattr(self._recipe, "scale_rows", False) else z

    def share(self, k: int) -> Tensor:
        return torch.rand(self._recipe.batch_size, device=self._device)

    def orders(self, k: int, count: int, size: int) -> Iterable[Tensor]:
        return torch.randperm(count, device=self._device).split(size)


def stretched(x: Tensor) -> Tensor:
    """Each row from 0 to 1, as toolbox-mlp has it."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    return torch.where(high > low, (x - low) / (high - low), x)


class TorchMatch:
    """Both players, and a round of their game."""

    def __init__(
        self, recipe: Recipe, images: np.ndarray, variant: Variant, device: torch.device, precision: str = "float32"
    ) -> None:
        state = start(recipe, images, CPU, precision).state
        self.g, self.d = (net_of(player).to(device) for player in (state.g, state.d))
        if variant.tuned and variant.channels_last:
            channels_last(self.g, self.d)
        self._rule_g, self._rule_d = (
            Rule(player.optimiser, net.parameters(), variant.tuned)
            for player, net in ((state.g, self.g), (state.d, self.d))
        )
        self._play_g: Callable[[Tensor], Tensor] = self.g
        self._play_d: Callable[[Tensor], Tensor] = self.d
        if variant.compiled:
            self._play_g, self._play_d = (torch.compile(net, mode="reduce-overhead") for net in (self.g, self.d))
        game = recipe.game()
        assert isinstance(game, Game)  # toolbox-mlp has a match of its own
        self._game, self._variant = game, variant
        self._smoothing = float(getattr(recipe, "smoothing", 0.0))
        self._scale = float(getattr(recipe, "d_loss_scale", 1.0))

    def play(self, source: Source) -> tuple[Tensor, Tensor]:
        """One round; losses of D and G, which stay on the device."""
        if self._variant.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        if self._game.order == "simultaneous":
            once = self._variant.tuned and not self._variant.compiled
            move = self._simultaneous_tuned if once else self._simultaneous
            return move(source.real(0), source.latent_d(0))
        if self._game.order == "generator-first":
            fake = self._play_g(source.latent_g())
            loss_g = self._generator_step(fake)
            return self._discriminator_steps(source, fake.detach())[0], loss_g
        loss_d, fake = self._discriminator_steps(source, None)
        if not self._game.reuse_fakes:
            fake = self._play_g(source.latent_g())
        return loss_d, self._generator_step(fake)

    def _discriminator_steps(self, source: Source, fakes: Tensor | None) -> tuple[Tensor, Tensor]:
        """All of a round, on `fakes` if the game uses them again; the last loss and the last fakes."""
        for k in range(self._game.d_steps):
            if fakes is None or not self._game.reuse_fakes:
                again = fakes is None and self._game.reuse_fakes and k == self._game.d_steps - 1
                with torch.set_grad_enabled(again or not self._variant.tuned):  # G's step goes back through them
                    fake = self._play_g(source.latent_d(k))
            else:
                fake = fakes
            real, fixed = source.real(k), fake.detach()
            loss = self._discriminator_gradients(real, fixed)
            if self._game.penalty is not None:
                self._add_penalty(self._game.penalty, real, fixed, source.share(k))
            self._rule_d.step()
        return loss, fake

    def _add_penalty(self, rule: GradientPenalty, real: Tensor, fake: Tensor, share: Tensor) -> None:
        """As in most codes; a compiled network cannot be differentiated twice, so that D is always eager here."""
        x = rule.points(real, fake, share).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.d(x).sum(), x, create_graph=True)
        (rule.weight * ((slope.flatten(1).norm(2, dim=1) - rule.centre) ** 2).mean()).backward()

    def _discriminator_gradients(self, real: Tensor, fake: Tensor) -> Tensor:
        self._rule_d.zero_grad()
        if self._game.joined:
            on_real, on_fake = self._play_d(torch.cat([real, fake])).split(len(real))
            loss = self._discriminator_loss(on_real, on_fake)
            loss.backward()
            return loss.detach()
        loss_real = self._scale * self._judged(self._play_d(real), 1 - self._smoothing)
        loss_real.backward()
        loss_fake = self._scale * self._judged(self._play_d(fake), 0)
        loss_fake.backward()
        return loss_real.detach() + loss_fake.detach()

    def _generator_step(self, fake: Tensor) -> Tensor:
        loss = self._generator_gradients(fake)
        self._rule_g.step()
        return loss

    def _generator_gradients(self, fake: Tensor) -> Tensor:
        self._rule_g.zero_grad()
        if self._variant.tuned:
            self.d.requires_grad_(False)
        loss = self._judged(self._play_d(fake), 1)
        loss.backward()
        self.d.requires_grad_(True)
        return loss.detach()

    def _simultaneous(self, real: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once: D judges the fakes once for each player, as a compiled graph serves one backward pass only."""
        fake = self._play_g(z)
        loss_g = self._generator_gradients(fake)
        loss_d = self._discriminator_gradients(real, fake.detach())
        self._rule_g.step()
        self._rule_d.step()
        return loss_d, loss_g

    def _simultaneous_tuned(self, real: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """D judges the fakes once, and each player asks for its own gradients only."""
        on_real, on_fake = self._play_d(real), self._play_d(self._play_g(z))
        losses = self._discriminator_loss(on_real, on_fake), self._judged(on_fake, 1)
        for net, loss in ((self.g, losses[1]), (self.d, losses[0])):
            parameters = list(net.parameters())
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
                p.grad = gradient
        self._rule_g.step()
        self._rule_d.step()
        return losses[0].detach(), losses[1].detach()

    def _discriminator_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        both = self._judged(on_real, 1 - self._smoothing) + self._judged(on_fake, 0)
        return self._scale * both

    def _judged(self, logits: Tensor, target: float) -> Tensor:
        """Cross-entropy with a target; of a critic the mean score, to be raised or lowered."""
        if self._game.loss.critic:
            return logits.mean() if target == 0 else -logits.mean()
        if self._variant.tuned:
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        return F.binary_cross_entropy(torch.sigmoid(logits), torch.full_like(logits, target))


def channels_last(*nets: torch.nn.Module) -> None:
    """Store the weights of all convolutions channels last."""
    for net in nets:
        for p in net.parameters():
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)


class TorchSide:
    """Plays rounds of one recipe."""

    def __init__(self, recipe: Recipe, variant: str, threads: int, device: str = "cpu", tf32: bool = False) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(SEED)
        self._recipe, self._variant = recipe, VARIANTS[variant]
        self._device = torch.device(device.replace("gpu", "cuda"))
        self._tf32 = tf32
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        self._images = digits(recipe)

    def first_losses(self) -> list[float]:
        """Losses of D and G in the first rounds, on minigan's batches and without dropout."""
        recipe = without_dropout(self._recipe)
        match = self._match(recipe, self._variant)
        images = recipe.training_part(self._images)
        real = fed(recipe, images, Batches(len(images), recipe.batch_size, SEED), CPU)
        losses: list[float] = []
        for step in range(CHECKED):
            draws = SeededDraws(recipe, real, SEED, step, recipe.game().d_steps, np.dtype("float32"))
            losses += [loss.item() for loss in match.play(Given(draws, self._device))]
        return losses

    @cached_property
    def _play(self) -> Callable[[], object]:
        """Rounds as they are timed; of eager ones on a GPU, those in the layout that is the faster one there."""
        if self._device.type == "cuda" and self._variant.tuned and not self._variant.compiled:
            ways = {replace(self._variant, channels_last=last): math.inf for last in (True, False)}
            plays = {way: self._rounds(way) for way in ways}
            for way in [*ways, *ways]:  # twice in turns, as who is first warms the process up
                ways[way] = min(ways[way], seconds_a_round(plays[way], TRIAL, self._synchronize))
            self._variant = min(ways, key=lambda way: ways[way])
        return self._rounds(self._variant)

    def _rounds(self, variant: Variant) -> Callable[[], object]:
        match = self._match(self._recipe, variant)
        last = variant.tuned and variant.channels_last
        source = Drawn(self._recipe, self._images, self._device, last)
        return lambda: match.play(source)

    def _match(self, recipe: Recipe, variant: Variant) -> "TorchMatch | ToolboxMatch":
        if isinstance(recipe, ToolboxMLP):
            return ToolboxMatch(recipe, self._images, variant.tuned)
        return TorchMatch(recipe, self._images, variant, self._device)

    def seconds_a_round(self, rounds: int) -> float:
        return seconds_a_round(self._play, rounds, self._synchronize)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def facts(self) -> dict[str, Any]:
        """What computed, and the process at its largest."""
        what = f"PyTorch {torch.__version__} x{torch.get_num_threads()}"
        if self._device.type == "cuda":
            what = f"PyTorch {torch.__version__} on {torch.cuda.get_device_name(self._device)}, TF32 {self._tf32}"
            what += f", {self._variant.layout}"
        return {"computed_by": what, "precision": "float32", "largest_bytes": largest()}
