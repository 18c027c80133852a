"""What a run has to agree on where processes share its batches."""

import numpy as np

from minigan.backend import CPU, Device, GPUUnavailable, select_device
from minigan.data.batches import Batches
from minigan.errors import UsageError, UserError
from minigan.games import OwnRound
from minigan.parallel.team import Team
from minigan.recipes import Recipe
from minigan.runs.state import State


def check_parts(recipe: Recipe, batches: Batches, team: Team) -> None:
    """Raises UsageError if the batches of a run cannot be cut into equal parts, one a process."""
    if team.size == 1:
        return
    if isinstance(recipe.game(), OwnRound):
        raise UsageError(
            f"{recipe.name} plays rounds of its own, whose batches processes cannot share: start it without mpiexec"
        )
    size, rest = divmod(batches.batch_size, team.size)
    if rest:
        nearest = [str(parts * team.size) for parts in (size, size + 1) if parts]
        raise UsageError(
            f"--batch-size {batches.batch_size} has no equal parts for {team.size} processes: "
            f"the nearest that has is {' or '.join(nearest)}"
        )
    if batches.last == "keep" and batches.count % batches.batch_size:
        raise UsageError(
            f"--last-batch keep makes a last batch of {batches.count % batches.batch_size} images, and processes "
            f"share full batches only: take --last-batch drop, or start it without mpiexec"
        )


def check_same(state: State, count: int, team: Team) -> None:
    """Raises UserError unless all processes are at the same step with the same images and the same numbers."""
    own = np.array([state.step, count, *(np.abs(tensor).sum(dtype=np.float64) for tensor in state.tensors().values())])
    if not (team.gather(own) == own).all():
        raise UserError(
            f"step {state.step}: the processes do not have the same step, images and parameters: on all machines, "
            "--data and --out must be the same files, and the versions of minigan and NumPy the same"
        )


def device_of(name: str, team: Team) -> Device:
    """The device that --device means in this process: of the GPUs of a machine, one each.

    ``auto`` takes GPUs if there is one for every process, else the CPU for all of them.
    """
    if team.size == 1 or name == "cpu":
        return select_device(name)
    if name == "gpu":
        return select_device(f"gpu:{team.place}")
    if name != "auto":
        raise UsageError(
            f"--device {name} for {team.size} processes: choose auto, cpu, or gpu, which gives each its own"
        )
    try:
        device = select_device(f"gpu:{team.place}")
    except GPUUnavailable:
        device = CPU
    lacking = team.largest(int(device is CPU))
    return CPU if lacking else device
