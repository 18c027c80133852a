"""Folders of made-up runs, to report on."""

import json

import numpy as np

from minigan.runs.folder import RunFolder
from minigan.runs.metrics import COLUMNS
from minigan.runs.pictures import grid, save_png
from minigan.runs.vitals import BINS, Vitals

CONFIG = (
    'recipe = "mlp-mnist"\nminigan = "0.1.0"\n\n[run]\ndata = "{data}"\nsteps = 40\n\n[constants]\nbatch_size = 8\n'
)


def vitals(step, layers=("dense1", "dense2")):
    """A line of vitals with these layers in both players."""
    both = {player: {layer: 0.1 / (i + 1) for i, layer in enumerate(layers)} for player in "GD"}
    return Vitals(
        step, both, both, both, both, both,
        d_real=[0] * (BINS - 1) + [100],
        d_fake=[step] + [0] * (BINS - 2) + [100 - step],
        spread=0.7,
        classes=[step, 40, 50],
    )  # fmt: skip


def score(name="Fréchet distance", **changes):
    return {
        "metric": "frechet", "score": name, "value": 2.5, "error": 0.25, "real": None, "real_error": None,
        "better": "lower", "space": "pixels",
    } | changes  # fmt: skip


def write_metrics(folder, rows):
    lines = [",".join(COLUMNS)] + [",".join(map(str, (step, 1.25, 0.75, 0.625, 0.375, 0.25))) for step in rows]
    folder.metrics.write_text("\n".join(lines) + "\n")


def write_evaluation(folder, **changes):
    document = {"step": 40, "samples": 500, "compared with": "500 test images", "scores": [score()]}
    folder.evaluation.write_text(json.dumps(document | changes))


def make_run(path, *, data="mnist5k", layers=("dense1", "dense2"), steps=(0, 10, 20, 30, 40)):
    """A run with everything that the report can show."""
    folder = RunFolder(path)
    folder.samples.mkdir(parents=True)
    folder.config.write_bytes(CONFIG.format(data=data).encode(errors="surrogateescape"))
    write_metrics(folder, range(2, 41, 2))
    folder.vitals.write_text("".join(json.dumps(vitals(step, layers)._asdict()) + "\n" for step in steps[1:]))
    folder.scores.write_text("step,recall,Frechet distance\n20,0.5,30\n40,0.6,25.5\n")
    write_evaluation(folder)
    for step in steps:
        save_png(folder.sample_path(step), grid(np.full((9, 8, 8, 1), step, np.uint8)))
    save_png(folder.neighbours, grid(np.full((20, 8, 8, 1), 9, np.uint8), columns=5))
    return folder
