"""Everything that needs a real GPU, in one command with one table at the end.

    python -m benchmarks.gpu_check [--quick] [--out gpu-check] [--only STAGE ...] [--data SOURCE]

It runs the tests that carry the marker `gpu`, checks every gradient on the GPU, compares both processors
(benchmarks.equivalence), times rounds beside PyTorch where that is installed (benchmarks.step), and each operation
beside the machine's limits (benchmarks.layers), finds from which size on the GPU pays (benchmarks.cpu_vs_gpu), and
trains a while. What each stage measured lies in --out as JSON, the table too. Nothing is installed or downloaded.

Each stage is a process of its own, as an error of CUDA spoils all that its process does afterwards, and has its share
of ten minutes; what it does not use is left to those after it. Its lines are kept as soon as they are known. Exit code
1 if anything failed, 2 without a GPU. A goal that is missed is no failure. docs/gpu.md tells how to read the table.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import cpu_vs_gpu, equivalence, layers, step
from benchmarks.machine import cores, machine, wanted_gpu
from benchmarks.processes import ProcessFailed
from benchmarks.report import Summary, milliseconds
from minigan import cli, info, ops, train
from minigan.backend import Device, gpu_name
from minigan.errors import UserError
from minigan.gradcheck import TOLERANCE, all_problems, check
from minigan.runs.atomic import write_atomically
from minigan.runs.metrics import read_metrics

Name = Literal["tests", "gradients", "equivalence", "step", "layers", "crossover", "training"]
# For each stage, less than ten minutes together.
SECONDS: dict[Name, int] = {
    "tests": 100, "gradients": 40, "equivalence": 70, "step": 210, "layers": 50, "crossover": 60, "training": 50,
}  # fmt: skip
# By recipe and batch size: the largest share of a PyTorch side's time that a captured round is meant to take.
GOALS = {
    ("dcgan-64", 128): {"PyTorch eager": 0.6, "PyTorch compiled": 0.9},
    ("mlp-2014", 100): {"PyTorch eager": 0.15, "PyTorch compiled": 0.6},
}
# Those that no stand-in can answer for, first.
TESTS = {
    "tests of kernels, products and graphs": ["tests/cuda", "tests/runs"],
    "the other tests with the marker gpu": ["tests", "--ignore=tests/cuda", "--ignore=tests/runs"],
}
# Arguments of the benchmarks, in full and for --quick.
BLOCKS = ["--blocks", "3"]
LARGE = ["dcgan-64", "--batch-size", "128"]
NARROW = ["--set", "hidden_g=16,16", "hidden_d=16,16"]
# Convolutions in TF32 are PyTorch's default: this one is the first.
ROUNDS = {
    False: [[*LARGE, *BLOCKS, "--tf32"], ["mlp-2014", *BLOCKS], [*LARGE, *BLOCKS]],
    True: [["mlp-mnist", "--blocks", "1", "--rounds", "1"]],
}
EQUIVALENCE = {
    False: ["mlp-2014", "dcgan-64", "--without-cpu", "--rounds", "4", "--threads", str(min(16, cores()))],
    True: ["mlp-mnist", "--batch-size", "4", "--rounds", "3", *NARROW],
}
LAYERS = {
    False: [*LARGE, *BLOCKS, "--without-cpu"],
    True: ["mlp-mnist", "--blocks", "1", "--without-cpu", *NARROW],
}
IN_TF32 = {
    False: [*LARGE, *BLOCKS, "--tf32"],
    True: ["dcgan-64", "--blocks", "1", "--batch-size", "2", "--set", "width=16", "size=16,16", "--tf32"],
}
CROSSOVER = {
    False: ["dcgan-64", "--batches", "4", "16", "64", "--widths", "0.25", "1", "--blocks", "2"],
    True: ["mlp-mnist", "--batches", "4", "--widths", "0.05", "--blocks", "1"],
}
SMALL = ["--batch-size", "4", "--width", "2", "--size", "16", "16"]
TRAINING = {
    False: [["dcgan-64", "--steps", "300"], ["mlp-mnist"]],
    True: [["dcgan-64", "--steps", "4", *SMALL], ["mlp-mnist", "--steps", "5", "--hidden-g", "16", "16"]],
}


@dataclass(frozen=True)
class Options:
    quick: bool = False
    """small systems and no test suite: does it run at all?"""
    only: tuple[Name, ...] = ()
    """stages to run; without it all of them. A single one runs in this process, for as long as it takes"""
    out: Path = Path("gpu-check")
    """folder for what was measured; that of an earlier check is replaced"""
    data: str = "mnist5k"
    """images for the training of dcgan-64, as `minigan.train` takes them"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    value: str
    ok: bool
    mark: str = ""  # instead of ok


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.gpu_check", description=__doc__ or "")
    gpu = wanted_gpu()
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.only or chosen(options.quick)
    results = run_stage(names[0], gpu, options) if len(names) == 1 else run_stages(names, options)
    summary = {"machine": machine(), "gpu": gpu_name(gpu), "results": [asdict(result) for result in results]}
    write_atomically(options.out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    print_table(gpu, results)
    return 0 if all(result.ok for result in results) else 1


def chosen(quick: bool) -> list[Name]:
    """All stages; the tests take minutes."""
    return [name for name in STAGES if not (quick and name == "tests")]


def run_stages(names: Sequence[Name], options: Options) -> list[Result]:
    """One after the other, each until its time and that of all before it is over."""
    end, results = time.monotonic(), []
    for name in names:
        end += SECONDS[name]
        results += in_own_process(name, options, end - time.monotonic())
    return results


def in_own_process(name: Name, options: Options, seconds: float) -> list[Result]:
    """The lines of a stage, and one more if it did not come to its end."""
    path = kept(name, options)
    path.unlink(missing_ok=True)
    quick = ["--quick"] if options.quick else []
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--only", name, *quick]
    process = subprocess.Popen([*command, "--out", options.out, "--data", options.data], start_new_session=True)
    try:
        code = process.wait(seconds)
        wrong = "" if path.exists() and code in (0, 1) else f"its process ended with exit code {code}"
    except subprocess.TimeoutExpired:
        wrong = f"not done after {seconds:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        process.wait()
    lines = [Result(**line) for line in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    return lines + ([Result(name, wrong, ok=False)] if wrong else [])


def kept(name: Name, options: Options) -> Path:
    """Where the lines of a stage lie."""
    return options.out / f"lines-{name}.json"


def run_stage(name: Name, gpu: Device, options: Options) -> list[Result]:
    """The lines of a stage; one that says what went wrong, if it did."""
    print(f"\n=== {name}", flush=True)
    began, results = time.monotonic(), list[Result]()

    def keep(result: Result) -> None:
        results.append(result)
        write_atomically(kept(name, options), json.dumps([asdict(each) for each in results], indent=1).encode())

    try:
        for result in STAGES[name](gpu, options):
            keep(result)
    except Exception as err:  # the others shall still run, on a machine that may be lent for minutes
        keep(Result(name, reason(err), ok=False))
    print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)
    return results


def reason(err: Exception) -> str:
    """In one line."""
    return f"{type(err).__name__}: {err}".strip().partition("\n")[0][:200]


def run_tests(_: Device, __: Options) -> Iterator[Result]:
    """The tests behind the marker, in processes of their own."""
    # Most of the time goes by while kernels are compiled, so a few processes share the GPU. Warnings are errors where
    # minigan is developed; here they may come from other versions of the libraries.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-W", "default", "-m", "gpu"]
    command += ["-q", "--tb=short", "--continue-on-collection-errors"]
    command += ["-n", str(min(4, cores()))] if importlib.util.find_spec("xdist") else []
    for what, where in TESTS.items():
        last = ""
        with subprocess.Popen([*command, *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tests:
            for line in tests.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        yield Result(what, last, tests.returncode == 0)


def check_gradients(gpu: Device, _: Options) -> Iterator[Result]:
    """Finite differences of everything, computed on the GPU."""
    for kernels, context in (("plain", nullcontext()), ("fused", ops.fast_kernels(1))):
        with context:
            worst = max(row.error for problem in all_problems(gpu) for row in check(problem))
        yield Result(f"gradcheck, {kernels}, worst relative error", f"{worst:.1e}", worst <= TOLERANCE)


def compare_processors(_: Device, options: Options) -> Iterator[Result]:
    """For each side and kind of comparison the worst one."""
    found = measured(equivalence.main, EQUIVALENCE[options.quick], options.out / "equivalence.json")
    rows = [equivalence.Row(**row) for row in found["results"]]
    for side, kind in dict.fromkeys((row.side, row.kind) for row in rows):
        these = [row for row in rows if (row.side, row.kind) == (side, kind)]
        worst = max(these, key=lambda row: (not row.ok, row.error))
        value = f"{worst.error:.1e} ({worst.what})"
        yield Result(f"{side}, worst {kind} of {len(these)}", value, all(row.ok for row in these))


def time_rounds(_: Device, options: Options) -> Iterator[Result]:
    """Rounds beside PyTorch, and whether the goals are reached."""
    for index, words in enumerate(ROUNDS[options.quick]):
        try:
            found = measured(step.main, [*words, "--device", "gpu"], options.out / f"step-{index}.json")
        except (UserError, ProcessFailed) as err:  # the next recipe may do better
            yield Result(f"round of {' '.join(words)}", reason(err), ok=False)
            continue
        for result in found["results"]:
            yield from rounds_told(result, found["precision"])


def rounds_told(result: dict[str, Any], precision: str) -> Iterator[Result]:
    """The lines about one recipe: times, sides that are missing, goals."""
    recipe, batch = result["recipe"], result["constants"]["batch_size"]
    what, mine = f"{recipe}, batch {batch}, {precision}", "minigan captured"
    times = {name: Summary.of(side["seconds"]).median for name, side in result["sides"].items()}
    told = [f"{name.removeprefix('minigan ')} {milliseconds(seconds)}" for name, seconds in times.items()]
    yield Result(f"ms a round of {what}", ", ".join(told), mine in times)
    for name, (short, why) in result["left_out"].items():
        yield Result(f"{what}: {name}", f"{short}: {why}"[:200], not name.startswith("minigan"), "absent")
    for name, goal in GOALS.get((recipe, batch), {}).items():
        goal_told = f"{what}: at most {goal:g} times {name}"
        if not {mine, name} <= times.keys():
            yield Result(goal_told, "not measured", ok=True, mark="unknown")
            continue
        share = times[mine] / times[name]
        yield Result(goal_told, f"{share:.2f} times", ok=True, mark="reached" if share <= goal else "missed")


def time_operations(_: Device, options: Options) -> Iterator[Result]:
    """The best that the GPU does, and the share of it that the slowest operations reach."""
    found = measured(layers.main, LAYERS[options.quick], options.out / "layers.json")
    for place in layers.ON_GPU:
        most = found["limits"][place]
        value = f"{most['gflops']:.3g} GFLOP/s, {most['gbytes']:.3g} GB/s"
        yield Result(f"the best product and copy, {place}", value, ok=True)
    slowest = sorted(found["results"], key=lambda result: -result["times"]["fused"]["median"])
    for result in slowest[:5]:
        told = [
            f"{place} {milliseconds(result['times'][place]['median'])} ms, "
            f"{layers.share(result, found['limits'], place):.0%} of the limit"
            for place in reversed(layers.ON_GPU)
        ]
        yield Result(f"{result['task']} {result['shapes']}", "; ".join(told), ok=True)
    found = measured(layers.main, IN_TF32[options.quick], options.out / "layers-tf32.json")
    for result in found["results"]:
        told = [f"{way} {milliseconds(result['times'][way]['median'])}" for way in layers.IN_TF32]
        yield Result(f"{result['task']} {result['shapes']}, ms in TF32", ", ".join(told), ok=True)


def find_crossover(_: Device, options: Options) -> Iterator[Result]:
    """From which batch size on the GPU is faster, for each width."""
    picture = ["--plot", str(options.out / "cpu-vs-gpu.png")]
    found = measured(cpu_vs_gpu.main, [*CROSSOVER[options.quick], *picture], options.out / "cpu-vs-gpu.json")
    speed_ups = [result["speed_up"] for result in found["results"]]
    crossings = ", ".join(f"{each['width']:g} wide: {each['batch'] or 'none'}" for each in found["crossovers"])
    value = f"{min(speed_ups):.2f} to {max(speed_ups):.1f} times as fast; from batch {crossings}"
    ways = {result["gpu_rounds"] for result in found["results"]}
    yield Result("GPU against CPU", f"{value}; {', '.join(ways)}", ways == {cpu_vs_gpu.CAPTURED})


def train_a_while(_: Device, options: Options) -> Iterator[Result]:
    """Two runs, as a user starts them: one of a few hundred rounds on --data, and the default recipe."""
    for words in TRAINING[options.quick]:
        folder, began = options.out / f"run-{words[0]}", time.monotonic()
        data = ["--data", options.data] if words[0] == "dcgan-64" else []
        code = train.main([*words, *data, "--device", "gpu", "--out", str(folder), "--overwrite"])
        seconds, last = time.monotonic() - began, read_metrics(folder / "metrics.csv")[-1]
        value = f"{seconds:.1f} s with its start and pictures, {seconds / last['step'] * 1e3:.3g} ms a round, "
        value += f"D(x) {last['d_real']:.2f}, D(G(z)) {last['d_fake']:.2f}"
        yield Result(f"training of {words[0]}, {last['step']:.0f} rounds", value, code == 0)


Stage = Callable[[Device, Options], Iterator[Result]]
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


def print_table(gpu: Device, results: list[Result]) -> None:
    """The summary, last."""
    print(f"\n{gpu_name(gpu)}, CuPy {gpu.xp.__version__}, NumPy {np.__version__}\n{info.cublas_line(gpu)}")
    for result in results:
        mark = result.mark if result.ok and result.mark else "ok" if result.ok else "FAILED"
        print(f"{mark:8}{result.what:62}  {result.value}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
