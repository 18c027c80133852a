"""Scores along the way: they change nothing, come back after a stop, and say the truth about G."""

import pytest

from minigan.backend import CPU
from minigan.data.sources import Dataset, load_images
from minigan.errors import DataError
from minigan.evaluation.scores import METRICS, compute
from minigan.recipes import CDCGAN28, MLP2014, MLPMnist, ToolboxMLP
from minigan.runs import lines, pictures, saved, scoring, trainer
from minigan.runs.checkpoint import read_newest
from minigan.runs.config import write_config
from minigan.runs.folder import RunFolder
from minigan.runs.metrics import read_metrics
from minigan.runs.options import RunOptions
from minigan.runs.scoring import Scoring
from minigan.runs.trainer import Trainer

DIGITS, LABELS = load_images("mnist5k").images[:1500], load_images("mnist5k").labels[:1500]
DATA = Dataset(DIGITS, LABELS, "digits")
SMALL = MLPMnist(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
RECIPES = {
    "mlp-mnist": SMALL,
    "mlp-2014": MLP2014(batch_size=8, latent=3, hidden_g=8, hidden_d=4, pieces=2),
    "cdcgan-28": CDCGAN28(batch_size=8, latent=3, width=1, units=4),
    "toolbox-mlp": ToolboxMLP(batch_size=9, minibatch=3, latent=3, hidden_d=4),
}
SPARSE = {"log_every": 5, "snapshot_every": 9, "checkpoint_every": 8, "steps": 20}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pictures, "save_curves", lambda _path, _rows, **_: None)
    monkeypatch.setattr(scoring, "SAMPLES", 30)


def play(path, recipe=SMALL, resume=False, every=4, images=DIGITS, **options):
    """Train into a folder, or go on in it; returns the trainer."""
    folder, options = RunFolder(path), RunOptions(**SPARSE | options, evaluate_every=every)
    labels = LABELS[: len(images)]
    folder.open()
    try:
        scores = Scoring(recipe, options, Dataset(images, labels, "digits"), CPU, folder.scores) if every else None
        run = Trainer(recipe, options, folder, CPU, recipe.training_part(images), scores, labels=labels)
        if resume:
            assert run.resume() == []
        else:
            folder.clear()
        assert run.run() == 0
        return run
    finally:
        folder.close()


def checkpoint(path):
    found, _ = read_newest(RunFolder(path).checkpoints)
    return {name: tensor.tobytes() for name, tensor in found.tensors.items()}, found.facts


def steps(path):
    return [row["step"] for row in read_metrics(RunFolder(path).scores, None)]


@pytest.mark.parametrize("name", RECIPES)
def test_scoring_leaves_the_run_as_it_is(tmp_path, name):
    play(tmp_path / "with", RECIPES[name])
    play(tmp_path / "without", RECIPES[name], every=0)
    assert checkpoint(tmp_path / "with") == checkpoint(tmp_path / "without")
    metrics = [(tmp_path / which / "metrics.csv").read_bytes() for which in ("with", "without")]
    assert metrics[0] == metrics[1]
    assert not (tmp_path / "without" / "scores.csv").exists()


def test_rows_come_when_due_and_at_the_end_with_the_cheap_scores_of_evaluate(tmp_path):
    play(tmp_path, steps=18)
    assert steps(tmp_path) == [4, 8, 12, 16, 18]
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "step,Parzen log-likelihood,classifier score,classes seen,entropy of classes,Fréchet distance,"
        "precision,recall,density,coverage"
    )


@pytest.mark.parametrize("stop", [7, 8, 10])
def test_a_resumed_run_has_the_same_rows_to_the_bit(tmp_path, stop):
    play(tmp_path / "whole")
    play(tmp_path / "parts", steps=stop)
    assert steps(tmp_path / "parts")[-1] == stop
    play(tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()


def test_rows_later_than_the_checkpoint_are_made_again(tmp_path):
    run = play(tmp_path)
    whole = run.folder.scores.read_bytes()
    run.folder.checkpoints.joinpath("step-000000020.safetensors").unlink()  # killed after step 20
    run.folder.scores.write_bytes(whole[:-9])  # in the middle of a row
    play(tmp_path, resume=True)
    assert run.folder.scores.read_bytes() == whole


def test_a_run_can_be_scored_from_a_resume_on_or_no_longer(tmp_path):
    play(tmp_path, every=0, steps=8)
    play(tmp_path, resume=True, steps=16)
    assert steps(tmp_path) == [12, 16]
    play(tmp_path, resume=True, every=0)
    assert steps(tmp_path) == [12, 16]


def test_a_file_of_other_scores_is_not_mixed_with_these(tmp_path):
    run = play(tmp_path, steps=8)
    run.folder.scores.write_text("step,inception score\n4,1\n")
    with pytest.raises(
        DataError, match=r"scores\.csv: not a metrics file of minigan \(its first line is not step,Parz"
    ):
        play(tmp_path, resume=True)
    play(tmp_path, resume=True, every=0)


def test_the_rows_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    events = []
    sync, write = lines.LinesFile.sync, trainer.write_checkpoint
    monkeypatch.setattr(lines.LinesFile, "sync", lambda file: (events.append("sync"), sync(file)))
    monkeypatch.setattr(trainer, "write_checkpoint", lambda *a, **b: (events.append("checkpoint"), write(*a, **b)))
    play(tmp_path, steps=8)
    assert events == ["sync", "sync", "sync", "checkpoint"]


def test_the_last_row_is_what_the_saved_run_scores(tmp_path):
    run = play(tmp_path)
    write_config(run.folder, run.options, SMALL)
    opened = saved.load_run(tmp_path, CPU)
    scores = run.scoring
    samples = scores._wrap(opened.draw(scores._z))
    expected = {
        row.score: row.value
        for name, metric in METRICS.items()
        if name != "modes" and metric.logged and not metric.told
        for row in compute(name, samples, scores._real)
    }
    last = read_metrics(run.folder.scores, scores.columns)[-1]
    assert {name: last[name] for name in scores.columns[1:]} == pytest.approx(
        {name: expected[name] for name in scores.columns[1:]}, rel=1e-3
    )


def test_latents_and_real_images_depend_on_the_seed_and_on_nothing_else(tmp_path):
    def sets(**options):
        made = Scoring(SMALL, RunOptions(**options), DATA, CPU, tmp_path / "scores.csv")
        return made._z.tobytes(), made._real.reference.pixels.tobytes()

    assert sets() == sets(log_every=3)
    assert not set(sets()) & set(sets(seed=1))


def test_images_that_a_recipe_keeps_back_are_compared_with_too():
    made = Scoring(RECIPES["mlp-2014"], RunOptions(), DATA, CPU, None)
    training = {image.tobytes() for image in made._real.training.pixels}
    assert len(training) == 1250
    assert {image.tobytes() for image in made._real.validation.pixels} - training


def test_large_images_are_scored_in_smaller_numbers(monkeypatch):
    monkeypatch.setattr(scoring, "SAMPLES", 1000)
    monkeypatch.setattr(scoring, "WORK", 25 * 25 * 784)
    made = Scoring(SMALL, RunOptions(), DATA, CPU, None)
    assert len(made._z) == 25
    assert made.words.startswith("25 samples against 25 training images (there is no test split) of mnist5k; real ")


def test_too_few_images_are_refused_before_training():
    with pytest.raises(DataError, match="mnist5k: 40 images are too few to score samples with"):
        Scoring(SMALL, RunOptions(), Dataset(DIGITS[:40], LABELS[:40], "digits"), CPU, None)


def test_a_new_run_in_the_folder_forgets_the_scores_of_the_old_one(tmp_path):
    play(tmp_path)
    play(tmp_path, every=0)
    assert not (tmp_path / "scores.csv").exists()


def test_a_line_tells_each_row(tmp_path, capsys):
    play(tmp_path, steps=8)
    lines = [line for line in capsys.readouterr().out.splitlines() if "classifier score" in line]
    assert [line.partition(": Parzen log-likelihood")[0] for line in lines] == ["step 4", "step 8"]


def test_stacked_digits_log_their_modes(tmp_path):
    run = play(tmp_path, images=load_images("stacked").images[:600], data="stacked", every=20)
    assert run.scoring.columns[2:5] == ("modes covered of 1000", "reverse KL of modes", "Fréchet distance")
    assert 25 <= run.scoring._of_real["modes covered of 1000"] <= 30
    (row,) = read_metrics(run.folder.scores, None)
    assert 1 <= row["modes covered of 1000"] <= 30


def test_scores_that_were_measured_more_or_less_often_are_kept(tmp_path):
    play(tmp_path, every=8, steps=18)
    assert steps(tmp_path) == [8, 16, 18]
    play(tmp_path, every=5, steps=20, resume=True)
    assert steps(tmp_path) == [8, 16, 18, 20]
