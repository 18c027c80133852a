"""``python -m minigan.evaluate RUN``: scores of a run's samples, as a table and as evaluation.json in its folder."""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    from minigan.backend import Device
    from minigan.evaluation.material import Images, Real
    from minigan.evaluation.network import Network
    from minigan.evaluation.scores import Row
    from minigan.runs.saved import SavedRun
    from minigan.typing import Shape

Name = Literal[
    "parzen", "classifier-score", "modes", "frechet", "precision-recall", "density-coverage", "two-sample", "copies",
    "class-accuracy", "nearest-neighbour",
]  # fmt: skip
FEW, MANY = 500, 10_000  # samples by default
PIXELS = 2**25  # in all of them, where that leaves enough: distances cost as much as pixels there are
COLUMNS = 10  # of neighbours.png
CLASSES = 20  # of samples, up to which their shares are printed
MACS = 4 * 10**9  # multiply-adds of a few images through a network, and of blocks of distances: enough for all threads


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """folder of the run"""
    metric: tuple[Name, ...] = ()
    """one or more, which evaluation.json then holds alone; without it all that make sense for the data"""
    data: str | None = None
    """the real images, if not those of the run: mnist:DIR for a run of mnist5k gives test images to compare with"""
    samples: int | None = None
    """how many; without it as many as real images: up to 10000, fewer of large images"""
    seed: int = 0
    """of the latents, and of the choice of real images"""
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    last_weights: bool = False
    """of a run that averages G's parameters: draw with the last ones instead"""
    step: int | None = None
    """of the checkpoint: one that `minigan.train --keep-every` has kept, scored in files of its own beside those of the
    newest; without it the newest"""
    diagnose: bool = False
    """say what went wrong in the run, by what it has recorded, and leave; nothing is drawn or scored"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        if self.samples is not None and not 20 <= self.samples <= 100_000:
            raise UsageError(f"--samples {self.samples} is out of range: allowed are 20 to 100000")
        if self.diagnose and self.step is not None:
            raise UsageError("--diagnose looks at what the whole run has recorded: leave --step out")

    def of_step(self, path: Path) -> Path:
        """The file for the scores of an earlier checkpoint, beside that for the newest one's."""
        return path if self.step is None else path.with_stem(f"{path.stem}-step-{self.step}")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.evaluate",
        description="Score the samples of a run's newest checkpoint, or of an earlier one.",
    )  # fmt: skip
    if options.diagnose:
        return print_diagnoses(options.run)
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.reports.page import write_report
    from minigan.runs.blas import compute
    from minigan.runs.config import read_run_config
    from minigan.runs.folder import RunFolder
    from minigan.runs.saved import load_run

    saved = load_run(options.run, select_device(options.device), options.last_weights, options.step)
    folder = RunFolder(options.run)
    for note in saved.notes:
        print(f"note: {note}")
    run_options, _ = read_run_config(folder.config)
    source = run_options.data if options.data is None else options.data
    network = network_for_photographs(source, saved.image_shape, saved.device)
    names = chosen_metrics(options.metric, source, saved.image_shape, network, saved.recipe.condition > 0)
    with compute(run_options.kernels, None, MACS):
        samples, real = gather(options, saved, source, network, run_options.image_memory * 2**30)
        names = without_classes(names, source) if real.reference.labels is None else names
        drawn = f"{len(samples.pixels)} samples"
        if saved.recipe.average:  # else there is no choice
            drawn += f", drawn with G's {saved.weights} weights,"
        print(f"{saved.recipe.name}, step {saved.state.step}: {drawn} against {real.words}")
        rows = table(names, samples, real)
        written, neighbours = (options.of_step(path) for path in (folder.evaluation, folder.neighbours))
        write_json(written, options, saved, samples, real, rows)
        print(f"written to {written}")
        if "copies" in names:
            save_neighbours(neighbours, samples, real)
        else:
            neighbours.unlink(missing_ok=True)  # of other samples than those of evaluation.json
    if options.step is None:
        print(f"and on the run's page: {write_report(folder)}")
    return 0


def print_diagnoses(run: Path) -> int:
    """What the doctor finds in the run's records: name, evidence, remedies."""
    from minigan.runs.config import has_critic
    from minigan.runs.doctor import course, diagnose, too_early
    from minigan.runs.folder import RunFolder
    from minigan.runs.metrics import read_metrics
    from minigan.runs.vitals import read_vitals

    folder = RunFolder(run)
    if not folder.config.exists():
        raise UsageError(f"{run} holds no run of minigan: there is no config.toml")
    rows = read_metrics(folder.metrics) if folder.metrics.exists() else []
    vitals = read_vitals(folder.vitals) if folder.vitals.exists() else []
    print(f"looked at {len(rows)} rows of {folder.metrics.name} and {len(vitals)} of {folder.vitals.name}")
    for file in (folder.metrics, folder.vitals):
        if not file.exists():
            print(f"note: there is no {file.name}, so what it would tell is not known")
    critic = has_critic(folder.config)
    found, over = diagnose(rows, vitals, critic), course(rows, vitals, critic)
    for name, evidence, remedies in found:
        print(f"{name}: {evidence}", *(f"  {remedy}" for remedy in remedies), sep="\n")
    if not (rows or vitals):
        print("nothing is recorded, so nothing can be said")
        return 1
    if not found:
        print(f"nothing wrong found{' at the end' if over else ''} in how it trained, which does not judge the samples")
        if early := too_early(vitals):
            print(early)
    for name, (first, last) in over.items():
        if name not in {diagnosis.name for diagnosis in found}:
            print(f"earlier, steps {first} to {last}: {name}")
    return 0


def network_for_photographs(source: str, image_shape: "Shape", device: "Device") -> "Network | None":
    """What looks at colour images whose classes no shipped classifier knows, where it is installed."""
    from minigan.evaluation.efficientnet import find_weights, load_efficientnet
    from minigan.evaluation.material import are_photographs

    path = find_weights() if are_photographs(source, image_shape) else None
    return None if path is None else load_efficientnet(path, device)


def gather(
    options: Options, saved: "SavedRun", source: str, network: "Network | None", memory: float
) -> tuple["Images", "Real"]:
    """The samples and the real images, which may take so many bytes; without --samples equally many."""
    from minigan.evaluation.material import load_real, told_classes, wrapper
    from minigan.randomness import Purpose, stream

    wrap = wrapper(source, saved.image_shape, saved.device, network)
    most = options.samples or min(max(PIXELS // math.prod(saved.image_shape), FEW), MANY)
    part, own = saved.recipe.training_part, options.data is None
    real = load_real(source, saved.image_shape, part, most, options.seed, wrap, memory, learnt_from=own)
    count, recipe = options.samples or len(real.stand_in.pixels), saved.recipe
    z = recipe.draw_latents(stream(options.seed, Purpose.SAMPLE), count)
    labels = told_classes(recipe.condition, real, count)
    return replace(wrap(saved.draw(z, recipe.codes(count, labels))), labels=labels), real


def chosen_metrics(
    asked: tuple[Name, ...], source: str, image_shape: "Shape", network: "Network | None", told: bool
) -> list[str]:
    """The metrics that were asked for, or all that work. Raises UsageError for one that does not.

    told: whether G is told of classes.
    Prints a line where more, or those of more than pixels, would be had with a package.
    """
    from minigan.evaluation.efficientnet import INSTALL, NAME
    from minigan.evaluation.material import are_photographs, is_stacked
    from minigan.evaluation.scores import METRICS, possible_metrics

    possible = possible_metrics(source, image_shape, network is not None, told)
    lacking = network is None and are_photographs(source, image_shape)
    for name in asked:
        if name not in possible:
            if METRICS[name].told and not told:
                reason = "is for runs whose G is told of classes, and this one is of"
            elif lacking and not METRICS[name].stacked:
                reason = f"needs {NAME} ({INSTALL}) for"
            elif METRICS[name].stacked is (not is_stacked(source)):
                reason = f"is {'only' if METRICS[name].stacked else 'not'} for stacked digits, and the data is"
            else:
                reason = (
                    "needs a classifier, and there are two, of digits (mnist5k, mnist, stacked) and clothes (fashion), "
                    "none for"
                )
            raise UsageError(f"--metric {name} {reason} {source}; possible are {', '.join(possible)}")
    chosen = [name for name in possible if name in asked or not asked]
    if lacking and not all(METRICS[name].in_pixels for name in chosen):
        print(f"note: only pixels are compared; {INSTALL} gives the other scores, by the features of {NAME}")
    return chosen


def without_classes(names: list[str], source: str) -> list[str]:
    """The metrics that do not need the classes of the real images, which are not known; a line about the others."""
    from minigan.evaluation.scores import METRICS

    if lost := [name for name in names if METRICS[name].told]:
        print(f"note: {source} does not tell the classes of its images, which {' and '.join(lost)} would need")
    return [name for name in names if name not in lost]


def table(names: list[str], samples: "Images", real: "Real") -> list["Row"]:
    """Compute and print, a row for each number."""
    from minigan.evaluation.classifier_score import class_histogram
    from minigan.evaluation.scores import compute

    print(f"{'score':28} {'samples':>17} {'real images':>17}  {'better':7} looks at", flush=True)
    rows = []
    for name in names:
        for row in compute(name, samples, real):
            mine, theirs = shown(row.value, row.error), shown(row.real, row.real_error)
            print(f"{row.score:28} {mine:>17} {theirs:>17}  {row.better:7} {row.space}", flush=True)
            rows.append(row)
    if samples.names_the_data and samples.logits.shape[1] <= CLASSES:
        counts = class_histogram(samples.logits)
        print("classes, %:", "  ".join(f"{name} {share:.1f}" for name, share in enumerate(100 * counts / counts.sum())))
    return rows


def shown(value: float | None, error: float | None) -> str:
    """Four significant digits, two of the error; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def write_json(
    path: Path, options: Options, saved: "SavedRun", samples: "Images", real: "Real", rows: list["Row"]
) -> None:
    """evaluation.json: no times in it, so that equal evaluations give equal files."""
    import json

    from minigan import __version__
    from minigan.evaluation.classifier_score import class_histogram
    from minigan.runs.atomic import write_atomically

    document = {
        "minigan": __version__, "recipe": saved.recipe.name, "step": saved.state.step,
        "weights": saved.weights,
        "samples": len(samples.pixels), "seed": options.seed, "compared with": real.words,
        "scores": [row._asdict() for row in rows],
    }  # fmt: skip
    if samples.classifier is not None:
        document["classifier"] = {"name": samples.classifier.name, "sha256": samples.classifier.sha256}
        if samples.names_the_data:
            document["class histogram"] = class_histogram(samples.logits).tolist()
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())


def save_neighbours(path: Path, samples: "Images", real: "Real") -> None:
    """A picture of samples above the training images that are nearest to them, to look for copies."""
    from minigan.evaluation.scores import neighbour_rows
    from minigan.runs import pictures

    pictures.save_png(path, pictures.grid(neighbour_rows(samples, real, COLUMNS), COLUMNS), scale=2)
    print(f"ten samples, and the ten nearest to training images, above these: {path}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
