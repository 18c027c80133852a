"""Everything that changes in a run, and how it goes into a checkpoint and comes back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigan.backend import Device, to_host
from minigan.errors import CheckpointError
from minigan.games import OwnRound
from minigan.games.player import Player
from minigan.nn import convert_sync_batchnorm
from minigan.nn.params import Params
from minigan.optim import Coefficients
from minigan.optim.average import average_coefficients, update_average
from minigan.parallel.team import ALONE, Team
from minigan.randomness import Purpose, stream
from minigan.recipes import Recipe
from minigan.runs.checkpoint import Checkpoint, read_newest
from minigan.runs.kinds import are_counts, by_name, is_count, is_text
from minigan.typing import Images, Shape

LARGEST_IMAGE = 2**30  # numbers: a larger claim is none of ours


def _is_image_shape(value: Any) -> bool:
    return are_counts(value) and len(value) == 3 and 0 < math.prod(value) <= LARGEST_IMAGE


# Facts that a checkpoint of a run tells, and of which kind they are. The checksum shows that nothing has changed since
# the file was written, not who wrote it.
FACTS: dict[str, Callable[[Any], bool]] = {
    "step": is_count,
    "updates": by_name(is_count),
    "layout": by_name(by_name(are_counts)),
    "recipe": is_text,
    "image_shape": _is_image_shape,
    "blas": is_text,
    "lacks": lambda value: isinstance(value, list),
    "constants": lambda value: isinstance(value, dict),
}


@dataclass
class State:
    """Both players, G's averaged parameters (None if the recipe takes no average), the rounds played."""

    g: Player
    d: Player
    average: Params | None
    step: int

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        images: Images,
        batches_per_epoch: int,
        seed: int,
        dtype: np.dtype,
        device: Device,
        team: Team = ALONE,
    ) -> "State":
        """The state before the first round."""
        rule_g, rule_d = recipe.optimisers(batches_per_epoch)
        net_g, net_d = recipe.generator(images), recipe.discriminator(images)
        if team.size > 1:
            net_g, net_d = convert_sync_batchnorm(net_g, team.gather), convert_sync_batchnorm(net_d, team.gather)
        g = Player.new(
            net_g, rule_g, recipe.latent_shape, stream(seed, Purpose.INIT_GENERATOR),
            dtype=dtype, device=device, team=team,
        )  # fmt: skip
        d = Player.new(
            net_d, rule_d, recipe.judged_shape(images.shape[1:]), stream(seed, Purpose.INIT_DISCRIMINATOR),
            dtype=dtype, device=device, team=team,
        )  # fmt: skip
        game = recipe.game()
        if isinstance(game, OwnRound):
            game.start(d)
        return cls(g, d, g.theta.copy() if recipe.average else None, 0)

    @property
    def players(self) -> dict[str, Player]:
        """By the names that checkpoints give them."""
        both = {"generator": self.g, "discriminator": self.d}
        return both if self.d.copy is None else both | {"copy": self.d.copy}

    @property
    def drawing(self) -> Params:
        """The parameters that samples are drawn with."""
        return self.g.theta if self.average is None else self.average

    def finish_round(self, average_decay: float, ready: Coefficients | None = None) -> None:
        """Count a round that has been played, and let the average follow; `ready`: its coefficients, if they are."""
        self.step += 1
        if self.average is not None:
            update_average(self.average, self.g.theta, ready or average_coefficients(average_decay, self.step))

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays by name, on the host."""
        named = {}
        for role, player in self.players.items():
            named[f"{role}.theta"] = player.theta.flat
            named |= {f"{role}.{name}": moment for name, moment in player.moments.items()}
        if self.average is not None:
            named["generator.average"] = self.average.flat
        return {name: to_host(array) for name, array in named.items()}

    def facts(self) -> dict[str, Any]:
        """What the arrays mean: the counters, and the names and shapes of the views."""
        return {
            "step": self.step,
            "updates": {role: player.updates for role, player in self.players.items()},
            "layout": {role: layout(player.theta) for role, player in self.players.items()},
        }

    def restore(self, checkpoint: Checkpoint, device: Device) -> None:
        """Take over a checkpoint. Raises CheckpointError, listing the differences, if it is of other networks."""
        check_layout(self.facts()["layout"], checkpoint.facts["layout"])
        mine = self.tensors()
        if mine.keys() != checkpoint.tensors.keys():
            raise CheckpointError(
                f"the checkpoint holds {', '.join(sorted(checkpoint.tensors))}; "
                f"this run needs {', '.join(sorted(mine))}: other optimisers, or another averaging"
            )
        self.step = checkpoint.facts["step"]
        for role, player in self.players.items():
            player.theta.version += 1  # whatever was computed with the old numbers is out of date
            player.updates = checkpoint.facts["updates"][role]
            _copy(player.theta.flat, checkpoint.tensors[f"{role}.theta"], device)
            for name, moment in player.moments.items():
                _copy(moment, checkpoint.tensors[f"{role}.{name}"], device)
        if self.average is not None:
            _copy(self.average.flat, checkpoint.tensors["generator.average"], device)


def read_newest_state(folder: Path, step: int | None = None) -> tuple[Checkpoint, list[str]]:
    """The newest readable checkpoint of a run (of this step), and a line about each newer one that cannot be read.

    Raises CheckpointError if there is none, or if it is not of a run, UsageError if there is none of this step.
    """
    checkpoint, notes = read_newest(folder, step)
    # Only loaded networks tell what they lack, and older files do not tell the constants.
    facts = {"lacks": [], "constants": {}} | checkpoint.facts
    if problem := _problem(facts):
        raise CheckpointError(f"{folder}: the checkpoint is not of a run, {problem}")
    return checkpoint, notes


def _problem(facts: dict[str, Any]) -> str:
    """What shows that no run has written these facts; empty if nothing does."""
    if missing := [name for name in FACTS if name not in facts]:
        return f"it lacks {', '.join(missing)}"
    wrong = [name for name, right in FACTS.items() if not right(facts[name])]
    if not wrong and facts["updates"].keys() != facts["layout"].keys():
        wrong = ["updates"]
    return f"its {', '.join(wrong)} cannot be" if wrong else ""


def layout(theta: Params) -> dict[str, Shape]:
    """Names and shapes of all views, in the order of the vector."""
    return theta.trainable_shapes | theta.statistic_shapes


def check_layout(needed: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> None:
    """Raises CheckpointError listing missing, extra and differing tensors."""
    differences = []
    for role, views in needed.items():
        other = {name: tuple(shape) for name, shape in found.get(role, {}).items()}
        differences += [f"missing {role}.{name}" for name in views.keys() - other.keys()]
        differences += [f"extra {role}.{name}" for name in other.keys() - views.keys()]
        differences += [
            f"{role}.{name} is {other[name]}, not {tuple(shape)}"
            for name, shape in views.items()
            if name in other and other[name] != tuple(shape)
        ]
    if differences:
        raise CheckpointError(f"the checkpoint is of another network: {'; '.join(sorted(differences))}")


def _copy(target: Any, source: np.ndarray, device: Device) -> None:
    if target.shape != source.shape or target.dtype != source.dtype:
        raise CheckpointError(
            f"the checkpoint is {source.dtype} {source.shape}, this run needs {target.dtype} {target.shape}: "
            "was it made with another --precision?"
        )
    target[...] = device.put(source)
