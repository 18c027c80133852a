"""``python -m minigan.evaluate RUN``: scores of a run's samples, as a table and as evaluation.json in its folder."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from minigan.evaluation.material import Images, Real
    from minigan.evaluation.scores import Row
    from minigan.runs.saved import SavedRun

Name = Literal["parzen", "classifier-score", "frechet", "precision-recall", "density-coverage", "two-sample", "copies"]
FEW, MANY = 500, 10_000  # samples by default
PIXELS = 2**25  # in all of them, where that leaves enough: distances cost as much as pixels there are
COLUMNS = 10  # of neighbours.png


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """folder of the run"""
    metric: tuple[Name, ...] = ()
    """one or more; without it all that make sense for the data"""
    data: str | None = None
    """the real images, if not those of the run: mnist:DIR for a run of mnist5k gives test images to compare with"""
    samples: int | None = None
    """how many; without it as many as real images: up to 10000, fewer of large images"""
    seed: int = 0
    """of the latents, and of the choice of real images"""
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    diagnose: bool = False
    """say what went wrong in the run, by what it has recorded, and leave; nothing is drawn or scored"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        if self.samples is not None and not 20 <= self.samples <= 100_000:
            raise UsageError(f"--samples {self.samples} is out of range: allowed are 20 to 100000")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.evaluate", description="Score the samples of a run's newest checkpoint."
    )
    if options.diagnose:
        return print_diagnoses(options.run)
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.evaluation.material import classifier_name
    from minigan.runs.config import read_run_config
    from minigan.runs.folder import RunFolder
    from minigan.runs.saved import load_run

    saved, folder = load_run(options.run, select_device(options.device)), RunFolder(options.run)
    for note in saved.notes:
        print(f"note: {note}")
    source = options.data or read_run_config(folder.config)[0].data
    known = classifier_name(source, saved.image_shape)
    names = chosen_metrics(options.metric, known is not None, source)
    samples, real = gather(options, saved, source, known)
    print(f"{saved.recipe.name}, step {saved.state.step}: {len(samples.pixels)} samples against {real.words}")
    rows = table(names, samples, real)
    write_json(folder.evaluation, options, saved, samples, real, rows)
    print(f"written to {folder.evaluation}")
    if "copies" in names:
        save_neighbours(folder.neighbours, samples, real)
    return 0


def print_diagnoses(run: Path) -> int:
    """What the doctor finds in the run's records: name, evidence, remedies."""
    from minigan.runs.doctor import course, diagnose
    from minigan.runs.folder import RunFolder
    from minigan.runs.metrics import read_metrics
    from minigan.runs.vitals import read_vitals

    folder = RunFolder(run)
    if not folder.config.exists():
        raise UsageError(f"{run} holds no run of minigan: there is no config.toml")
    rows = read_metrics(folder.metrics) if folder.metrics.exists() else []
    vitals = read_vitals(folder.vitals) if folder.vitals.exists() else []
    print(f"looked at {len(rows)} rows of {folder.metrics.name}, {len(vitals)} lines of {folder.vitals.name}")
    for file in (folder.metrics, folder.vitals):
        if not file.exists():
            print(f"note: there is no {file.name}, so what it would tell is not known")
    found, over = diagnose(rows, vitals), course(rows, vitals)
    for name, evidence, remedies in found:
        print(f"{name}: {evidence}", *(f"  {remedy}" for remedy in remedies), sep="\n")
    if not found:
        print(f"nothing wrong found{' at the end' if over else ''}")
    for name, (first, last) in over.items():
        if name not in {diagnosis.name for diagnosis in found}:
            print(f"earlier, steps {first} to {last}: {name}")
    return 0


def gather(options: Options, saved: "SavedRun", source: str, classifier: str | None) -> tuple["Images", "Real"]:
    """The samples and the real images; without --samples equally many."""
    import numpy as np

    from minigan.evaluation.classifier import load_classifier
    from minigan.evaluation.material import Images, load_real
    from minigan.randomness import Purpose, stream

    network = None if classifier is None else load_classifier(classifier, saved.device)

    def wrap(pixels: "np.ndarray") -> Images:
        return Images(pixels, saved.device, network)

    most = options.samples or min(max(PIXELS // math.prod(saved.image_shape), FEW), MANY)

    def training_part(images: "np.ndarray") -> "np.ndarray":
        return np.asarray(saved.recipe.training_part(images))

    real = load_real(source, saved.image_shape, training_part, most, options.seed, wrap)
    count = options.samples or len(real.stand_in.pixels)
    z = saved.recipe.draw_latents(stream(options.seed, Purpose.SAMPLE), count)
    return wrap(saved.draw(z)), real


def chosen_metrics(asked: tuple[Name, ...], has_classifier: bool, source: str) -> list[str]:
    """The metrics that were asked for, or all that work. Raises UsageError for one that does not."""
    from minigan.evaluation.scores import METRICS

    possible = [name for name, metric in METRICS.items() if has_classifier or not metric.needs_classifier]
    for name in asked:
        if name not in possible:
            raise UsageError(
                f"--metric {name} needs a classifier, and there are two, of digits (mnist5k, mnist) and clothes "
                f"(fashion), none for {source}; possible are {', '.join(possible)}"
            )
    return [name for name in possible if name in asked or not asked]


def table(names: list[str], samples: "Images", real: "Real") -> list["Row"]:
    """Compute and print, a row for each number."""
    from minigan.evaluation.scores import compute

    print(f"{'score':28} {'samples':>17} {'real images':>17}  {'better':7} looks at", flush=True)
    rows = []
    for name in names:
        for row in compute(name, samples, real):
            mine, theirs = shown(row.value, row.error), shown(row.real, row.real_error)
            print(f"{row.score:28} {mine:>17} {theirs:>17}  {row.better:7} {row.space}", flush=True)
            rows.append(row)
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
    from minigan.evaluation.classifier import WEIGHTS
    from minigan.evaluation.classifier_score import class_histogram
    from minigan.runs.atomic import write_atomically

    document = {
        "minigan": __version__, "recipe": saved.recipe.name, "step": saved.state.step,
        "samples": len(samples.pixels), "seed": options.seed, "compared with": real.words,
        "scores": [row._asdict() for row in rows],
    }  # fmt: skip
    if samples.classifier is not None:
        name = samples.classifier.name
        document["classifier"] = {"name": name, "sha256": WEIGHTS[name].sha256}
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
