"""Everything that needs a real GPU, in one command with one table at the end.

    python -m benchmarks.gpu_check [--quick] [--out gpu-check] [--only STAGE ...]

It runs the tests that carry the marker `gpu`, checks every gradient on the GPU, compares both processors
(benchmarks.equivalence), times rounds beside PyTorch where that is installed (benchmarks.step), and each operation
beside the machine's limits (benchmarks.layers), finds from which size on the GPU pays (benchmarks.cpu_vs_gpu), and
trains a while. What each stage measured lies in --out as JSON, the table too. Nothing is installed or downloaded. A
stage that fails does not stop the others; exit code 1 if anything failed. It is sized to end within ten minutes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import cpu_vs_gpu, equivalence, layers, step
from benchmarks.machine import machine
from benchmarks.report import Summary, milliseconds
from minigan import cli, train
from minigan.backend import Device, select_device
from minigan.gradcheck import TOLERANCE, all_problems, check
from minigan.runs.atomic import write_atomically
from minigan.runs.metrics import read_metrics

Name = Literal["tests", "gradients", "equivalence", "step", "layers", "crossover", "training"]
TESTS_SECONDS = 240
# Arguments of the benchmarks, in full and for --quick. The rounds beside PyTorch are those that speak for a GPU.
ROUNDS = {
    False: [["mlp-2014"], ["dcgan-64", "--batch-size", "128"], ["dcgan-64", "--batch-size", "128", "--tf32"]],
    True: [["mlp-mnist", "--blocks", "1", "--rounds", "1"]],
}
EQUIVALENCE = {False: ["mlp-mnist", "dcgan-28", "dcgan-64"], True: ["mlp-mnist", "--batch-size", "4", "--rounds", "2"]}
LAYERS = {False: ["dcgan-64", "--batch-size", "128", "--blocks", "3"], True: ["mlp-mnist", "--blocks", "1"]}
CROSSOVER = {
    False: ["dcgan-64", "--batches", "4", "16", "64", "--widths", "0.25", "1", "--blocks", "2"],
    True: ["mlp-mnist", "--batches", "4", "--widths", "0.05", "--blocks", "1"],
}
TRAINING = {False: ["mlp-mnist"], True: ["mlp-mnist", "--steps", "5"]}


@dataclass(frozen=True)
class Options:
    quick: bool = False
    """small systems and no test suite: does it run at all?"""
    only: tuple[Name, ...] = ()
    """stages to run; without it all of them"""
    out: Path = Path("gpu-check")
    """folder for what was measured; that of an earlier check is replaced"""
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
    options.out.mkdir(parents=True, exist_ok=True)
    results = [result for name in options.only or chosen(options.quick) for result in run_stage(name, gpu, options)]
    summary = {"machine": machine(), "gpu": gpu_name(gpu), "results": [asdict(result) for result in results]}
    write_atomically(options.out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    print_table(gpu, results)
    return 0 if all(result.ok for result in results) else 1


def chosen(quick: bool) -> list[Name]:
    """All stages; the tests take minutes."""
    return [name for name in STAGES if not (quick and name == "tests")]


def run_stage(name: Name, gpu: Device, options: Options) -> list[Result]:
    """The lines of a stage; one that says what went wrong, if it did."""
    print(f"\n=== {name}", flush=True)
    began = time.monotonic()
    try:
        results = STAGES[name](gpu, options)
    except Exception as err:  # the others shall still run, on a machine that may be lent for minutes
        results = [Result(name, f"{type(err).__name__}: {err}".partition("\n")[0][:200], ok=False)]
    print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)
    return results


def run_tests(_: Device, __: Options) -> list[Result]:
    """The tests behind the marker, in a process of their own."""
    # One process, since the GPU is one; and without the options that need pytest-xdist.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-m", "gpu", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TESTS_SECONDS)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    print("\n".join(lines[-30:]))
    return [Result("tests with the marker gpu", lines[-1] if lines else done.stderr[-200:], done.returncode == 0)]


def check_gradients(gpu: Device, _: Options) -> list[Result]:
    """Finite differences of everything, computed on the GPU."""
    worst = max(row.error for problem in all_problems(gpu) for row in check(problem))
    return [Result("gradcheck, worst relative error", f"{worst:.1e}", worst <= TOLERANCE)]


def compare_processors(_: Device, options: Options) -> list[Result]:
    """For each side and kind of comparison the worst one."""
    found = measured(equivalence.main, EQUIVALENCE[options.quick], options.out / "equivalence.json")
    rows = [equivalence.Row(**row) for row in found["results"]]
    results = []
    for side, kind in dict.fromkeys((row.side, row.kind) for row in rows):
        these = [row for row in rows if (row.side, row.kind) == (side, kind)]
        worst = max(these, key=lambda row: (not row.ok, row.error))
        value = f"{worst.error:.1e} ({worst.what})"
        results.append(Result(f"{side}, worst {kind} of {len(these)}", value, all(row.ok for row in these)))
    return results


def time_rounds(_: Device, options: Options) -> list[Result]:
    """Rounds of minigan and PyTorch, and their ratios."""
    results = []
    for index, words in enumerate(ROUNDS[options.quick]):
        found = measured(step.main, [*words, "--device", "gpu"], options.out / f"step-{index}.json")
        for result in found["results"]:
            times = {name: Summary.of(side["seconds"]).median for name, side in result["sides"].items()}
            ours = [name for name in times if name.startswith("minigan")][-1]
            value = f"{milliseconds(times[ours])} ms"
            for name in times.keys() - {ours}:
                value += f", {times[ours] / times[name]:.2f} times {name} ({milliseconds(times[name])})"
            what = f"{result['recipe']}, batch {result['constants']['batch_size']}, {found['precision']}"
            results.append(Result(f"round of {what}", value, ok=True))
    return results


def time_operations(_: Device, options: Options) -> list[Result]:
    """The share of the machine's limit that each operation reaches, from the slowest on."""
    found = measured(layers.main, LAYERS[options.quick], options.out / "layers.json")
    most, lines = found["limits"]["CuPy"], []
    for result in found["results"]:
        seconds = result["times"]["CuPy"]["median"]
        products, passes = 2 * result["macs"] / most["gflops"], 4 * result["numbers"] / most["gbytes"]
        lines.append((seconds, f"{result['task']} {result['shapes']}", (products or passes) / seconds / 1e9))
    lines.sort(reverse=True)
    told = f"{most['gflops']:.3g} GFLOP/s, {most['gbytes']:.3g} GB/s"
    return [Result("the best product and copy", told, ok=True)] + [
        Result(f"{what}", f"{milliseconds(seconds)} ms, {share:.0%} of the limit", ok=True)
        for seconds, what, share in lines[:5]
    ]


def find_crossover(_: Device, options: Options) -> list[Result]:
    """From which batch size on the GPU is faster, for each width."""
    picture = ["--plot", str(options.out / "cpu-vs-gpu.png")]
    found = measured(cpu_vs_gpu.main, [*CROSSOVER[options.quick], *picture], options.out / "cpu-vs-gpu.json")
    speed_ups = [result["speed_up"] for result in found["results"]]
    crossings = ", ".join(f"{each['width']:g} wide: {each['batch'] or 'none'}" for each in found["crossovers"])
    value = f"{min(speed_ups):.2f} to {max(speed_ups):.1f} times as fast; from batch {crossings}"
    return [Result("GPU against CPU", value, ok=True)]


def train_a_while(_: Device, options: Options) -> list[Result]:
    """A run of the default recipe, as a user starts it."""
    folder, began = options.out / "run", time.monotonic()
    code = train.main([*TRAINING[options.quick], "--device", "gpu", "--out", str(folder), "--overwrite"])
    last = read_metrics(folder / "metrics.csv")[-1]
    value = f"{time.monotonic() - began:.0f} s, D(x) {last['d_real']:.2f}, D(G(z)) {last['d_fake']:.2f}"
    return [Result(f"training of {last['step']:.0f} rounds", value, code == 0)]


Stage = Callable[[Device, Options], list[Result]]
STAGES: dict[Name, Stage] = {
    "tests": run_tests, "gradients": check_gradients, "equivalence": compare_processors, "step": time_rounds,
    "layers": time_operations, "crossover": find_crossover, "training": train_a_while,
}  # fmt: skip


def measured(benchmark: Callable[[list[str]], int], words: list[str], path: Path) -> dict[str, Any]:
    """What a benchmark with these arguments wrote as JSON. It may find faults in what it measures, and still write."""
    path.unlink(missing_ok=True)
    benchmark([*words, "--json", str(path)])
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def gpu_name(gpu: Device) -> str:
    """As the driver tells it."""
    name: bytes = gpu.xp.cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode()


def print_table(gpu: Device, results: list[Result]) -> None:
    """The summary, last."""
    print(f"\n{gpu_name(gpu)}, CuPy {gpu.xp.__version__}, NumPy {np.__version__}")
    for result in results:
        print(f"{'ok    ' if result.ok else 'FAILED'}  {result.what:62}  {result.value}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
