"""``python -m minigan.evaluate`` as a person starts it: a table, a file, a picture, and one line for what it cannot."""

import json
import re
import shutil
import struct
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from minigan import ops
from minigan.data.sources import load_images
from minigan.errors import UsageError
from minigan.evaluate import Name, main
from minigan.evaluation import efficientnet
from minigan.evaluation.classifier import WEIGHTS
from minigan.evaluation.efficientnet import EfficientNetLite0, read_weights
from minigan.evaluation.scores import METRICS
from minigan.runs.metrics import HEADER
from tests.commands import run
from tests.evaluation.invented import random_tensors

NARROW = ("--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--steps", "20")
DIGITS = "classifier-mnist"
TOLD = {"class-accuracy", "nearest-neighbour"}  # for runs whose G is told of classes


def evaluate(cwd, name, *arguments):
    """Evaluate, and expect that it works; returns what it prints and evaluation.json."""
    done = run(cwd, "minigan.evaluate", name, *arguments, "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, json.loads((cwd / name / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run on the embedded digits, one on a small MNIST with a test split, and one on a folder of images."""
    cwd = tmp_path_factory.mktemp("runs")
    data = load_images("mnist5k")
    (cwd / "small").mkdir()
    for prefix, part in (("train", slice(300)), ("t10k", slice(300, 400))):
        for kind, array in (("images-idx3", data.images[part, ..., 0]), ("labels-idx1", data.labels[part])):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (cwd / "small" / f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())
    (cwd / "pictures").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    for index, picture in enumerate(colours):
        Image.fromarray(picture).save(cwd / "pictures" / f"{index:02}.png")
    for name, source in (("embedded", "mnist5k"), ("split", "mnist:small"), ("folder", "folder:pictures")):
        done = run(cwd, "minigan.train", *NARROW, "--data", source, "--device", "cpu", "--out", name)
        assert done.returncode == 0, done.stderr
    return cwd


def test_the_last_weights_of_a_run_that_averages_are_scored_when_asked_for(runs):
    """The default recipe averages G's parameters; after 20 rounds the average is another network."""
    asked = ("--samples", 40, "--metric", "parzen")
    printed, average = evaluate(runs, "embedded", *asked)
    assert "40 samples, drawn with G's average weights, against" in printed
    printed, last = evaluate(runs, "embedded", *asked, "--last-weights")
    assert "40 samples, drawn with G's last weights, against" in printed
    assert (average["weights"], last["weights"]) == ("average", "last")
    assert average["scores"] != last["scores"]
    for more in ((), ("--last-weights",)):
        done = run(runs, "minigan.sample", "embedded", "--count", 4, "--device", "cpu", *more)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("G's last weights" in done.stdout) == bool(more)
    pictures = [Image.open(runs / "embedded" / f"more-samples-{name}.png").tobytes() for name in ("0", "last-0")]
    assert pictures[0] != pictures[1]
    assert "with G’s last weights, compared with" in (runs / "embedded" / "report.html").read_text(encoding="utf-8")
    shutil.copytree(runs / "embedded", runs / "plain")
    done = run(runs, "minigan.train", *NARROW, "--average", "0", "--out", "plain", "--overwrite", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for module in ("minigan.evaluate", "minigan.sample"):
        done = run(runs, module, "plain", "--last-weights", "--device", "cpu")
        assert done.returncode == 2
        assert "plain keeps no average of G's parameters" in done.stderr
        assert done.stderr.count("\n") == 1


def test_digits_get_all_scores_each_with_the_name_of_what_looked(runs):
    printed, found = evaluate(runs, "embedded", "--samples", 40)
    assert printed.startswith("mlp-mnist, step 20: 40 samples, drawn with G's average weights, against 40 training ")
    assert {row["metric"] for row in found["scores"]} == set(METRICS) - {"modes"} - TOLD
    for row in found["scores"]:
        assert row["space"] == ("pixels" if row["metric"] in ("parzen", "copies") else DIGITS)
        assert re.search(rf"^{re.escape(row['score'])} .* {row['space']}$", printed, re.MULTILINE)
    assert found["classifier"] == {"name": DIGITS, "sha256": WEIGHTS[DIGITS].sha256}
    assert sum(found["class histogram"]) == found["samples"] == 40
    assert (found["recipe"], found["step"]) == ("mlp-mnist", 20)


def test_a_barely_trained_generator_scores_worse_than_real_images(runs):
    _, found = evaluate(runs, "split", "--samples", 100)
    rows = {row["score"]: row for row in found["scores"]}
    assert found["compared with"] == f"100 test images of mnist:{runs}/small"
    for score, row in rows.items():
        if row["better"] == "higher" and score != "classes seen":
            assert row["value"] < row["real"], score
    assert rows["Fréchet distance"]["value"] > 3 * rows["Fréchet distance"]["real"]
    assert rows["two-sample accuracy"]["value"] > 0.9 > rows["two-sample accuracy"]["real"]
    assert rows["distance to training images"]["value"] > rows["distance to training images"]["real"]


def test_the_same_seed_gives_the_same_file(runs):
    def content(seed):
        evaluate(runs, "split", "--samples", 50, "--seed", seed)
        return (runs / "split" / "evaluation.json").read_bytes()

    assert content(1) == content(1) != content(2)


def test_without_samples_there_are_as_many_as_real_images(runs):
    _, found = evaluate(runs, "split", "--metric", "two-sample")
    assert found["samples"] == 100


@pytest.fixture
def without_package(monkeypatch):
    """As if the network for colour images were not installed."""
    monkeypatch.setattr(efficientnet, "find_weights", lambda: None)


@pytest.fixture
def with_package(monkeypatch):
    """As if it were, but with invented weights."""
    monkeypatch.setattr(efficientnet, "find_weights", lambda: Path("weights.pth"))
    monkeypatch.setattr(
        efficientnet,
        "load_efficientnet",
        lambda _path, device: EfficientNetLite0(read_weights(random_tensors()), device),
    )


def evaluate_here(cwd, capsys, monkeypatch, *arguments):
    """Evaluate the run on the folder in this process; returns what is printed and evaluation.json."""
    monkeypatch.chdir(cwd)
    assert main(["folder", "--device", "cpu", *arguments]) == 0
    return capsys.readouterr().out, json.loads((cwd / "folder" / "evaluation.json").read_text())


@pytest.mark.usefixtures("with_package")
def test_colour_images_get_all_scores_through_the_network_for_them(runs, capsys, monkeypatch):
    printed, found = evaluate_here(runs, capsys, monkeypatch)
    assert {row["metric"] for row in found["scores"]} == {name for name, m in METRICS.items() if not m.stacked} - TOLD
    for row in found["scores"]:
        assert row["space"] == ("pixels" if row["metric"] in ("parzen", "copies") else efficientnet.NAME)
    assert found["classifier"] == {"name": efficientnet.NAME, "sha256": efficientnet.SHA256}
    assert "note:" not in printed
    # Classes of ImageNet are not those of the data: to count them would say nothing about it.
    assert "class histogram" not in found
    assert not any(row["score"] in ("classes seen", "entropy of classes") for row in found["scores"])


@pytest.mark.usefixtures("with_package")
def test_the_kernels_are_those_that_the_run_was_trained_with(runs, capsys, monkeypatch):
    used = []
    forward = EfficientNetLite0.forward
    monkeypatch.setattr(EfficientNetLite0, "forward", lambda *a: used.append(ops.kernels_in_use()) or forward(*a))
    evaluate_here(runs, capsys, monkeypatch, "--samples", "20", "--metric", "frechet")
    assert used
    assert all(kernels.startswith("fast kernels") for kernels in used)


@pytest.mark.usefixtures("without_package")
def test_without_that_network_a_line_says_what_to_install(runs, capsys, monkeypatch):
    printed, _ = evaluate_here(runs, capsys, monkeypatch)
    notes = [line for line in printed.splitlines() if line.startswith("note:")]
    assert notes == [
        f"note: only pixels are compared; {efficientnet.INSTALL} "
        "gives the other scores, by the features of efficientnet-lite0"
    ]
    printed, _ = evaluate_here(runs, capsys, monkeypatch, "--metric", "copies")
    assert "note:" not in printed  # what looks at pixels anyway lacks nothing


@pytest.mark.usefixtures("without_package")
def test_without_that_network_its_scores_are_refused_with_the_remedy(runs, monkeypatch):
    monkeypatch.chdir(runs)
    with pytest.raises(UsageError) as caught:
        main(["folder", "--metric", "frechet", "--device", "cpu"])
    assert str(caught.value) == (
        f"--metric frechet needs efficientnet-lite0 ({efficientnet.INSTALL}) for folder:{runs}/pictures; possible are "
        "parzen, precision-recall, density-coverage, two-sample, copies"
    )
    with pytest.raises(UsageError, match="--metric modes is only for stacked digits"):
        main(["folder", "--metric", "modes", "--device", "cpu"])


@pytest.mark.usefixtures("without_package")
def test_other_images_get_the_scores_that_need_no_classifier(runs, capsys, monkeypatch):
    printed, found = evaluate_here(runs, capsys, monkeypatch)
    without = {name for name, m in METRICS.items() if not m.needs_classifier} - TOLD
    assert {row["metric"] for row in found["scores"]} == without
    assert {row["space"] for row in found["scores"]} == {"pixels"}
    assert "classifier" not in printed
    assert "classifier" not in found
    assert found["samples"] == 25  # half of five sixths of 60


def test_the_modes_of_stacked_digits_are_counted(runs):
    done = run(runs, "minigan.train", *NARROW, "--data", "stacked", "--device", "cpu", "--out", "stacked")
    assert done.returncode == 0, done.stderr
    _, found = evaluate(runs, "stacked", "--samples", 50, "--metric", "modes", "frechet")
    rows = {row["score"]: row for row in found["scores"]}
    assert {row["space"] for row in rows.values()} == {DIGITS}
    assert rows["modes covered of 1000"]["value"] <= rows["modes covered of 1000"]["real"] <= 50
    assert rows["reverse KL of modes"]["value"] >= rows["reverse KL of modes"]["real"] >= np.log(1000 / 50)
    assert sum(found["class histogram"]) == 50


def test_only_the_metrics_that_are_asked_for_are_computed(runs):
    _, found = evaluate(runs, "embedded", "--samples", 40, "--metric", "frechet", "density-coverage")
    assert [row["score"] for row in found["scores"]] == ["Fréchet distance", "density", "coverage"]


def test_other_real_images_can_be_given(runs):
    _, found = evaluate(runs, "embedded", "--data", "mnist:small", "--samples", 30, "--metric", "copies")
    assert found["compared with"] == "30 test images of mnist:small"
    assert [row["score"] for row in found["scores"]] == ["distance to training images", "nearer than 99 % of real"]


def test_images_that_the_run_has_not_learnt_from_are_not_called_training_images(runs):
    _, found = evaluate(runs, "split", "--data", "mnist5k", "--samples", 30, "--metric", "copies")
    assert found["compared with"] == "30 images (there is no test split) of mnist5k"


def test_a_picture_shows_samples_above_their_neighbours(runs):
    (runs / "split" / "neighbours.png").unlink(missing_ok=True)
    printed, _ = evaluate(runs, "split", "--samples", 30, "--metric", "copies")
    picture, page = printed.splitlines()[-2:]
    assert picture.endswith("split/neighbours.png")
    assert page.endswith("split/report.html")
    assert "distance to training images" in (runs / "split" / "report.html").read_text()
    with Image.open(runs / "split" / "neighbours.png") as picture:
        assert picture.size == (2 * (10 * 28 + 9 * 2), 2 * (4 * 28 + 3 * 2))
    evaluate(runs, "split", "--samples", 30, "--metric", "frechet")  # of other samples: the page would show both
    assert not (runs / "split" / "neighbours.png").exists()


def test_the_command_knows_every_metric():
    assert get_args(Name) == tuple(METRICS)


def test_the_dispatcher_has_it(runs):
    done = run(runs, "minigan", "evaluate", "embedded", "--samples", 20, "--metric", "frechet", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("nothing",), 2, "nothing holds no run of minigan"),
        (("nothing", "--diagnose"), 2, "nothing holds no run of minigan"),
        ((), 2, "folder of the run"),
        (("embedded", "--samples", "5"), 2, "--samples 5 is out of range: allowed are 20 to 100000"),
        (("embedded", "--metric", "fid"), 2, "--metric"),
        (("embedded", "--data", "mnits:x"), 2, "unknown data source 'mnits:x'; did you mean 'mnist'"),
        (("embedded", "--data", "mnist:none"), 1, "no train-images-idx3-ubyte[.gz] in 'none'"),
        (("embedded", "--data", "folder:pictures"), 1, "has images of 3 colour channels, the run makes 1"),
        (("embedded", "--metric", "modes"), 2, "--metric modes is only for stacked digits, and the data is mnist5k"),
        (("folder", "--data", "folder:few"), 1, "folder:few: 24 images are too few to score samples with"),
        (("embedded", "--seed", "-1"), 2, "seed -1 is out of range"),
    ],
)
def test_errors_are_one_line(runs, arguments, code, part):
    if "folder:few" in arguments and not (runs / "few").exists():
        (runs / "few").mkdir()
        for path in sorted((runs / "pictures").iterdir())[:24]:
            (runs / "few" / path.name).write_bytes(path.read_bytes())
    done = run(runs, "minigan.evaluate", *arguments)
    assert re.fullmatch(r"minigan: error: .+\n", done.stderr), done.stderr
    assert part in done.stderr
    assert done.returncode == code


def test_a_new_run_in_the_folder_forgets_the_scores_of_the_old_one(tmp_path):
    for _ in range(2):
        done = run(tmp_path, "minigan.train", *NARROW, "--device", "cpu", "--out", "run", "--overwrite")
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "run" / "evaluation.json").exists()
        evaluate(tmp_path, "run", "--samples", 20, "--metric", "frechet")


def test_a_run_is_diagnosed_from_its_records_alone(runs, tmp_path):
    shutil.copytree(
        runs / "embedded", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "evaluation.json")
    )
    done = run(tmp_path, "minigan.evaluate", "run", "--diagnose")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "looked at 2 rows of metrics.csv and 1 of vitals.jsonl",
        "nothing wrong found in how it trained, which does not judge the samples",
        "whether the samples are alike is not known: 1 snapshot of 3",
    ]
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_an_older_run_is_diagnosed_by_what_there_is(tmp_path, capsys):
    (tmp_path / "config.toml").touch()
    (tmp_path / "metrics.csv").write_text(
        HEADER + "".join(f"{n},0.01,5,0.99,{0.5 if n > 25 else 0.001},0.01\n" for n in range(1, 31))
    )
    assert main([str(tmp_path), "--diagnose"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "looked at 30 rows of metrics.csv and 0 of vitals.jsonl",
        "note: there is no vitals.jsonl, so what it would tell is not known",
        "nothing wrong found at the end in how it trained, which does not judge the samples",
        "earlier, steps 20 to 25: D is too strong",
    ]
    (tmp_path / "metrics.csv").write_text(HEADER + "1,0.01,5,0.99,0.001,0.01\n" * 20)
    assert main([str(tmp_path), "--diagnose"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "D is too strong: D(x) is 0.99 and D(G(z)) 0.001 on average over 20 rows",
        "  give D more dropout or label smoothing",
        "  lower D's learning rate",
    ]
    (tmp_path / "metrics.csv").unlink()
    assert main([str(tmp_path), "--diagnose"]) == 1
    shown = capsys.readouterr().out
    assert "there is no metrics.csv" in shown
    assert shown.endswith("nothing is recorded, so nothing can be said\n")


def test_a_damaged_record_is_one_line(runs, tmp_path):
    shutil.copytree(runs / "embedded", tmp_path / "run")
    (tmp_path / "run" / "vitals.jsonl").write_text("{}\n")
    done = run(tmp_path, "minigan.evaluate", "run", "--diagnose")
    assert done.returncode == 1
    assert re.fullmatch(r"minigan: error: run/vitals\.jsonl: not a vitals file .+ \(line 1: .+\)\n", done.stderr)
