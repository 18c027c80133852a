"""Everything that needs a real GPU, in one command with one table at the end.

    python -m benchmarks.gpu_check [--quick]

It runs the tests that carry the marker `gpu`, checks every gradient on the GPU, plays the same
rounds on both processors and compares the weights, and times a round on each. Nothing is
installed or downloaded. Exit code 1 if anything failed.
"""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.rounds import digits, seconds_a_round, start
from minigan import cli
from minigan.backend import CPU, Device, select_device, to_host
from minigan.gradcheck import TOLERANCE, all_problems, check
from minigan.recipes import RECIPES, Recipe
from minigan.recipes.cost import cost

CPU_MACS = 4e11  # what a CPU should have to multiply for one measurement


@dataclass(frozen=True)
class Options:
    quick: bool = False
    """fewer rounds, and no test suite: does it run at all?"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    value: str
    ok: bool


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.gpu_check", description=__doc__ or "")
    gpu = select_device("gpu")
    results = [] if options.quick else [run_gpu_tests()]
    results.append(check_gradients(gpu))
    for name in RECIPES:
        recipe = RECIPES[name]()
        for precision, bound in (("float64", 1e-9), ("float32", 1e-2)):
            results.append(
                compare_rounds(recipe, gpu, precision, rounds_for(recipe, 2 if options.quick else 20), bound)
            )
        results.append(time_rounds(recipe, gpu, 5 if options.quick else 100))
    print_table(gpu, results)
    return 0 if all(result.ok for result in results) else 1


def run_gpu_tests() -> Result:
    """The tests behind the marker, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    print("\n".join(lines[-30:]))
    return Result("tests with the marker gpu", lines[-1] if lines else done.stderr[-200:], done.returncode == 0)


def check_gradients(gpu: Device) -> Result:
    """Finite differences of everything, computed on the GPU."""
    worst = max(row.error for problem in all_problems(gpu) for row in check(problem))
    return Result("gradcheck, worst relative error", f"{worst:.1e}", worst <= TOLERANCE)


def compare_rounds(recipe: Recipe, gpu: Device, precision: str, rounds: int, bound: float) -> Result:
    """Both processors from the same seed: relative distance of G's weights afterwards.

    The two add in different orders, and training amplifies the last digit; so the bound for float32 is loose.
    """
    ends = []
    for device in (CPU, gpu):
        state, play = start(recipe, digits(recipe), device, precision)
        for _ in range(rounds):
            play()
        ends.append(to_host(state.g.theta.flat).astype(np.float64))
    distance = float(np.linalg.norm(ends[1] - ends[0]) / np.linalg.norm(ends[0]))
    what = f"{recipe.name}, {precision}: CPU against GPU after {rounds} rounds"
    return Result(what, f"{distance:.1e} (bound {bound:g})", distance <= bound)


def rounds_for(recipe: Recipe, most: int) -> int:
    """Fewer rounds of a large system, so that a CPU is done with them in seconds: at least 2."""
    per_round = cost(recipe, (*(recipe.image_size or (28, 28)), recipe.list_channels)).round_macs
    return max(2, min(most, int(CPU_MACS / per_round)))


def time_rounds(recipe: Recipe, gpu: Device, most: int) -> Result:
    """Milliseconds a round on each processor, float32, after a warm-up, waiting for the device at the end."""
    times = {}
    for device, rounds in ((CPU, rounds_for(recipe, most)), (gpu, most)):
        _, play = start(recipe, digits(recipe), device)
        times[device.name] = seconds_a_round(play, rounds, device.synchronize) * 1e3
    cpu, on_gpu = times[CPU.name], times[gpu.name]
    return Result(f"{recipe.name}: ms a round, batch {recipe.batch_size}",
                  f"CPU {cpu:.2f}, GPU {on_gpu:.2f}, GPU {cpu / on_gpu:.1f} times as fast", ok=True)  # fmt: skip


def print_table(gpu: Device, results: list[Result]) -> None:
    """The summary, last."""
    properties = gpu.xp.cuda.runtime.getDeviceProperties(0)
    print(f"\n{properties['name'].decode()}, CuPy {gpu.xp.__version__}, NumPy {np.__version__}")
    for result in results:
        print(f"{'ok    ' if result.ok else 'FAILED'}  {result.what:62}  {result.value}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
