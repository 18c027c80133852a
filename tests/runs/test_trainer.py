"""The training loop: exact continuation above all, and what it says when something goes wrong."""

import dataclasses
import errno
import io
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from minigan.backend import CPU
from minigan.cuda.cublas import CublasError
from minigan.data.stream import StreamedImages
from minigan.errors import CheckpointError, DataError, UsageError, UserError
from minigan.evaluation import material
from minigan.nn import Sequential
from minigan.randomness import Purpose, stream
from minigan.recipes import MLP2014, MLPMnist, ToolboxMLP
from minigan.runs import feed as feeds
from minigan.runs import pictures, progress, rounds, saved, trainer
from minigan.runs.checkpoint import (
    Checkpoint,
    checkpoint_files,
    read_checkpoint,
    read_newest,
    step_of,
    write_checkpoint,
)
from minigan.runs.config import write_config
from minigan.runs.folder import RunFolder
from minigan.runs.health import NotFiniteError, first_not_finite
from minigan.runs.lines import LinesFile
from minigan.runs.metrics import MetricsFile, read_metrics
from minigan.runs.options import RunOptions
from minigan.runs.signals import UNREAD
from minigan.runs.trainer import Trainer, resume_command
from minigan.runs.vitals import VitalsFile, read_vitals
from minigan.train import last_words
from tests.recipes.ahead import AHEAD
from tests.recipes.told import TOLD

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 3
SMALL = MLPMnist(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
CHANGED = dataclasses.replace(SMALL, flip=True, jitter=0.3)  # the real images are
MAXOUT = MLP2014(batch_size=8, latent=3, hidden_g=8, hidden_d=4, pieces=2)
TOOLBOX = ToolboxMLP(batch_size=9, minibatch=3, latent=3, hidden_d=4)  # a third network, with a momentum

STEPS = 20
SIX = ["mlp-mnist", "flip and jitter", "mlp-2014", "toolbox-mlp", "told", "ahead"]
SPARSE = {"log_every": 5, "snapshot_every": 6, "checkpoint_every": 8, "steps": STEPS}


def write_rows(path, rows, **_options):
    path.write_text("\n".join(repr(sorted(row.items())) for row in rows))


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Curves and the classifier take longer than the training here; the rows stand in the place of their picture."""
    monkeypatch.setattr(pictures, "save_curves", write_rows)
    monkeypatch.setattr(material, "classifier_name", lambda _source, _shape: None)


def play(path, recipe=SMALL, resume=False, images=IMAGES, before=lambda _trainer: None, labels=LABELS, **options):
    """Train into a folder, or go on in it; returns (exit code, trainer, notes)."""
    folder = RunFolder(path)
    folder.open()
    try:
        trainer = Trainer(recipe, RunOptions(**SPARSE | options), folder, CPU, images, labels=labels)
        notes = trainer.resume() if resume else folder.clear()
        before(trainer)
        return trainer.run(), trainer, notes
    finally:
        folder.close()


def streamed(make=IMAGES.__getitem__):
    """IMAGES as if they did not fit in memory."""
    return StreamedImages(IMAGES.shape[1:], make, range(len(IMAGES)))


def everything(path):
    """All that has to be equal to the bit: tensors, counters, metrics and vitals."""
    folder = RunFolder(path)
    checkpoint, notes = read_newest(folder.checkpoints)
    assert notes == []
    tensors = {name: (t.dtype, t.shape, t.tobytes()) for name, t in checkpoint.tensors.items()}
    files = folder.metrics, folder.vitals, folder.curves, folder.animation, folder.last_samples
    return tensors, checkpoint.facts, *(file.read_bytes() if file.exists() else b"" for file in files)


def samples(path):
    return {file.name: file.read_bytes() for file in RunFolder(path).sample_files()}


def stop_at(monkeypatch, step, number):
    """Send a signal in the middle of a round."""
    real = rounds.play_round

    def play_round(game, g, d, draws):
        if draws.step == step - 1:
            signal.raise_signal(number)
        return real(game, g, d, draws)

    monkeypatch.setattr(rounds, "play_round", play_round)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("last_batch", ["drop", "keep"])
@pytest.mark.parametrize("recipe", [SMALL, CHANGED, MAXOUT, TOOLBOX, TOLD, AHEAD], ids=SIX)
@pytest.mark.parametrize("stop", [7, 10])
def test_a_resumed_run_is_bit_identical_to_one_in_one_go(tmp_path, recipe, stop, last_batch, precision):
    """Step 7 is inside an epoch and between two rows of the metrics; batches of 9 leave 4 of 40."""
    options = {"last_batch": last_batch, "precision": precision}
    recipe = dataclasses.replace(recipe, batch_size=9)
    play(tmp_path / "whole", recipe, **options)
    play(tmp_path / "parts", recipe, steps=stop, **options)
    code, resumed, notes = play(tmp_path / "parts", recipe, resume=True, **options)
    assert (code, resumed.state.step, notes) == (0, STEPS, [])
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    assert samples(tmp_path / "whole").items() <= samples(tmp_path / "parts").items()


def test_training_changes_the_parameters_and_the_seed_matters(tmp_path):
    runs = [
        everything(play(tmp_path / str(steps) / str(seed), steps=steps, seed=seed)[1].folder.path)[0]
        for steps, seed in ((1, 0), (2, 0), (2, 1))
    ]
    assert len({tensors["generator.theta"][2] for tensors in runs}) == 3


@pytest.mark.parametrize("last_batch", ["drop", "keep"])
@pytest.mark.parametrize("recipe", [SMALL, CHANGED, MAXOUT, TOOLBOX, TOLD, AHEAD], ids=SIX)
def test_images_made_on_the_way_train_to_the_same_bits_also_after_a_resume(tmp_path, recipe, last_batch):
    recipe = dataclasses.replace(recipe, batch_size=9)
    before = threading.active_count()
    play(tmp_path / "kept", recipe, images=recipe.training_part(IMAGES), last_batch=last_batch)
    options = {"images": recipe.training_part(streamed()), "last_batch": last_batch}
    play(tmp_path / "streamed", recipe, **options)
    play(tmp_path / "parts", recipe, steps=7, **options)
    play(tmp_path / "parts", recipe, resume=True, **options)
    assert everything(tmp_path / "streamed") == everything(tmp_path / "kept")
    assert everything(tmp_path / "parts") == everything(tmp_path / "kept")
    assert samples(tmp_path / "streamed") == samples(tmp_path / "kept")
    assert threading.active_count() == before


def test_an_image_that_is_gone_stops_the_run_and_names_the_last_good_checkpoint(tmp_path):
    def make(number):
        if gone:
            raise DataError("'a.png' is gone")
        return IMAGES[number]

    gone, before = [], threading.active_count()
    play(tmp_path, images=streamed(make), steps=8)
    with pytest.raises(DataError, match=r"'a.png' is gone; the last good checkpoint is step 8"):
        play(tmp_path, images=streamed(make), resume=True, before=lambda _trainer: gone.append(True))
    assert threading.active_count() == before
    gone.clear()
    play(tmp_path, images=streamed(make), resume=True)
    play(tmp_path / "kept")
    assert everything(tmp_path) == everything(tmp_path / "kept")


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_ends_the_threads_too(tmp_path, monkeypatch, signals):
    real, before = rounds.play_round, threading.active_count()

    def play_round(game, g, d, draws):
        if draws.step == 9:
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
        return real(game, g, d, draws)

    monkeypatch.setattr(rounds, "play_round", play_round)
    if signals == 1:
        assert play(tmp_path, images=streamed())[0] == 130
    else:
        with pytest.raises(KeyboardInterrupt):
            play(tmp_path, images=streamed())
    assert threading.active_count() == before


def test_waiting_for_images_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(feeds, "PATIENCE", 0.05)

    def slow(number):
        time.sleep(0.005)
        return IMAGES[number]

    play(tmp_path, images=streamed(slow), log_every=1)
    assert capsys.readouterr().out.count("note: training waits") == 1


@pytest.mark.parametrize("change", [{"flip": True}, {"jitter": 0.3}])
def test_changed_images_make_another_run(tmp_path, change):
    play(tmp_path / "plain", steps=1)
    play(tmp_path / "changed", dataclasses.replace(SMALL, **change), steps=1)
    assert everything(tmp_path / "plain")[0] != everything(tmp_path / "changed")[0]


def test_other_classes_of_the_same_images_are_refused_where_the_networks_are_told_of_them(tmp_path):
    play(tmp_path / "told", TOLD, steps=8)
    before = everything(tmp_path / "told")
    with pytest.raises(CheckpointError, match="the images of mnist5k are in other classes than those that the run was"):
        play(tmp_path / "told", TOLD, resume=True, labels=LABELS[::-1])
    assert everything(tmp_path / "told") == before
    play(tmp_path / "not", steps=8)
    assert play(tmp_path / "not", resume=True, labels=None)[2] == []


def test_a_run_is_told_of_its_classes(tmp_path):
    """Other classes of the same images make another run, and its samples show one class after the other in turn."""
    _, run, _ = play(tmp_path / "a", TOLD, steps=2)
    play(tmp_path / "b", TOLD, steps=2, labels=LABELS[::-1])
    assert everything(tmp_path / "a")[0] != everything(tmp_path / "b")[0]
    np.testing.assert_array_equal(run.fixed_latents[:, 3:].argmax(axis=1), np.arange(100) % 3)


def test_rows_and_samples_later_than_the_checkpoint_are_made_again(tmp_path):
    _, whole, _ = play(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    cut = RunFolder(tmp_path / "cut")
    cut.checkpoints.joinpath("step-000000020.safetensors").unlink()  # killed after step 20 but before its checkpoint
    with cut.metrics.open("a") as file:
        file.write("20,0.5,0.")  # ... in the middle of a row
    with cut.vitals.open("a") as file:
        file.write('{"step":20,"gra')
    cut.sample_path(18).write_bytes(b"half a pic")
    cut.sample_path(17).write_bytes(b"of a run to step 17")
    code, resumed, _ = play(cut.path, resume=True)
    assert (code, resumed.saved_step) == (0, STEPS)
    assert everything(cut.path) == everything(whole.folder.path)
    assert samples(cut.path) == samples(whole.folder.path)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(tmp_path):
    _, whole, _ = play(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "damaged")
    newest = checkpoint_files(tmp_path / "damaged" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    _, _, notes = play(tmp_path / "damaged", resume=True)
    assert len(notes) == 1
    assert "step-000000020.safetensors: damaged" in notes[0]
    assert everything(tmp_path / "damaged") == everything(whole.folder.path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_was_asked_to_stop_finishes_its_round_saves_and_goes_on_exactly(tmp_path, monkeypatch, number, code):
    play(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 7, number)
        stopped = play(tmp_path / "parts")
    assert (stopped[0], stopped[1].state.step, stopped[1].saved_step) == (code, 7, 7)
    assert (tmp_path / "parts" / "samples.png").exists()
    assert play(tmp_path / "parts", resume=True)[0] == 0
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def test_a_run_stopped_before_its_first_round_can_be_resumed(tmp_path, monkeypatch):
    play(tmp_path / "whole")
    real = Trainer._snapshot

    def snapshot(self, record):
        signal.raise_signal(signal.SIGINT)
        return real(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_snapshot", snapshot)
        code, stopped, _ = play(tmp_path / "parts")
    assert (code, stopped.state.step, stopped.saved_step) == (130, 0, 0)
    play(tmp_path / "parts", resume=True)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def test_a_second_ctrl_c_leaves_at_once_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    real = rounds.play_round

    def play_round(game, g, d, draws):
        if draws.step == 9:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return real(game, g, d, draws)

    monkeypatch.setattr(rounds, "play_round", play_round)
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path)
    assert [step_of(path) for path in checkpoint_files(tmp_path / "checkpoints")] == [8]


def test_rows_snapshots_and_checkpoints_come_when_due_and_at_the_end(tmp_path):
    _, run, _ = play(tmp_path, steps=22)
    assert [row["step"] for row in read_metrics(run.folder.metrics)] == [5, 10, 15, 20, 22]
    assert [step_of(path) for path in run.folder.sample_files()] == [0, 6, 12, 18, 22]
    assert [step_of(path) for path in checkpoint_files(run.folder.checkpoints)] == [22, 16]
    assert run.folder.last_samples.exists()
    assert run.folder.animation.exists()


def test_checkpoints_that_are_kept_for_good_are_those_of_the_run(tmp_path):
    """Each is what a run that ends there has, also after a run has been resumed with another --keep-every."""
    play(tmp_path / "run", steps=17, keep_every=3)
    kept = tmp_path / "run" / "checkpoints"
    assert [step_of(path) for path in checkpoint_files(kept)] == [17, 16, 15, 12, 9, 6, 3]
    play(tmp_path / "run", resume=True, keep_every=0)
    assert [step_of(path) for path in checkpoint_files(kept)] == [20, 17, 15, 12, 9, 6, 3]
    play(tmp_path / "whole")
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")
    play(tmp_path / "short", steps=9)
    ninth, last = read_newest(kept, 9)[0], read_newest(tmp_path / "short" / "checkpoints")[0]
    assert {name: tensor.tobytes() for name, tensor in ninth.tensors.items()} == {
        name: tensor.tobytes() for name, tensor in last.tensors.items()
    }


@pytest.mark.parametrize("steps", [10, 20])
def test_the_checkpoint_that_a_run_is_resumed_from_is_kept_if_that_is_asked_for_now(tmp_path, steps):
    play(tmp_path, steps=10)
    play(tmp_path, steps=steps, resume=True, keep_every=10)
    assert [path.name for path in checkpoint_files(tmp_path / "checkpoints") if "kept" in path.name] == [
        f"step-{step:09d}.kept.safetensors" for step in (20, 10) if step <= steps
    ]


def test_a_run_goes_back_to_a_checkpoint_by_a_copy_without_the_later_ones(tmp_path):
    play(tmp_path / "run", keep_every=6)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for path in checkpoint_files(tmp_path / "copy" / "checkpoints"):
        if step_of(path) > 12:
            path.unlink()
    code, copy, notes = play(tmp_path / "copy", resume=True, keep_every=6)
    assert (code, copy.state.step, notes) == (0, STEPS, [])
    assert everything(tmp_path / "copy") == everything(tmp_path / "run")
    assert samples(tmp_path / "copy") == samples(tmp_path / "run")


@pytest.mark.parametrize("steps", [3, 22])
def test_resuming_a_finished_run_changes_nothing(tmp_path, steps):
    play(tmp_path, steps=22)
    before = everything(tmp_path), samples(tmp_path)
    times = [file.stat().st_mtime_ns for file in checkpoint_files(tmp_path / "checkpoints")]
    code, resumed, _ = play(tmp_path, resume=True, steps=steps)
    assert (code, resumed.state.step) == (0, 22)
    assert (everything(tmp_path), samples(tmp_path)) == before
    assert [file.stat().st_mtime_ns for file in checkpoint_files(tmp_path / "checkpoints")] == times


def test_rows_and_vitals_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    events = []
    sync, write = LinesFile.sync, trainer.write_checkpoint
    monkeypatch.setattr(LinesFile, "sync", lambda file: (events.append(type(file)), sync(file)))
    monkeypatch.setattr(trainer, "write_checkpoint", lambda *a, **b: (events.append("checkpoint"), write(*a, **b)))
    play(tmp_path, steps=8)
    assert events == [MetricsFile, VitalsFile, "checkpoint"]


@pytest.mark.parametrize(
    ("options", "batch_size", "goal"),
    [
        ({"steps": 7}, 8, 7),
        ({"steps": None, "epochs": 3}, 8, 15),
        ({"steps": None, "epochs": 3}, 9, 12),
        ({"steps": None, "epochs": 3, "last_batch": "keep"}, 9, 15),
        ({"steps": None}, 8, MLPMnist.steps),
    ],
)
def test_the_goal_is_in_steps_or_in_epochs_or_the_recipes_own(tmp_path, options, batch_size, goal):
    recipe = dataclasses.replace(SMALL, batch_size=batch_size)
    assert Trainer(recipe, RunOptions(**SPARSE | options), RunFolder(tmp_path), CPU, IMAGES).goal == goal


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "step 10: the loss is not finite"), ({"log_every": 100}, "step 16: .* is not finite")],
    ids=["seen in the loss", "seen before saving"],
)
def test_nan_stops_the_run_names_step_and_place_and_keeps_the_good_checkpoint(tmp_path, options, words):
    play(tmp_path, steps=8)

    def poison(trainer):
        trainer.state.g.theta["dense1.w"][0, 0] = np.nan

    with pytest.raises(NotFiniteError, match=words) as caught:
        play(tmp_path, resume=True, before=poison, **options)
    assert "generator parameter dense1.w" in str(caught.value)
    assert "the last good checkpoint is step 8" in str(caught.value)
    assert [step_of(path) for path in checkpoint_files(tmp_path / "checkpoints")] == [8]
    good, _ = read_newest(tmp_path / "checkpoints")
    assert all(np.isfinite(tensor).all() for tensor in good.tensors.values())


def test_nan_before_the_first_checkpoint_says_that_there_is_none(tmp_path):
    def poison(trainer):
        trainer.state.d.theta["dense2.b"][:] = np.inf

    with pytest.raises(NotFiniteError, match=r"step 5: .*discriminator parameter dense\d.*no checkpoint was made yet"):
        play(tmp_path, before=poison)


@pytest.mark.parametrize(
    ("role", "name", "value", "place"),
    [
        ("g", "batchnorm1.var", np.nan, "generator parameter batchnorm1.var"),
        ("d", "dense1.b", np.inf, "discriminator parameter dense1.b"),
        ("g", "dense2.w", 3e38, "output of generator layer dense2"),
        ("d", "dense1.w", 3e38, "output of discriminator layer dense1"),
        ("d", "dense2.w", 1.0, "loss"),
    ],
)
def test_the_first_place_that_is_not_finite_is_found(tmp_path, role, name, value, place):
    run = Trainer(SMALL, RunOptions(), RunFolder(tmp_path), CPU, IMAGES)
    getattr(run.state, role).theta[name] = value
    with np.errstate(all="ignore"):
        assert first_not_finite(run.state, run.fixed_latents, stream(0, Purpose.DROPOUT)) == place


def test_a_moment_that_is_not_finite_is_told_as_one(tmp_path):
    def poison(trainer):
        trainer.state.g.moments["v"][3] = np.inf  # the update is 0 there

    with pytest.raises(NotFiniteError, match=r"step 8: generator\.v is not finite; no checkpoint was made yet"):
        play(tmp_path, before=poison)


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_is_told_with_the_last_good_checkpoint(tmp_path, monkeypatch, stage):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    real = rounds.play_round

    def play_round(game, g, d, draws):
        if draws.step == 12:
            monkeypatch.setattr(os, stage, full)
        return real(game, g, d, draws)

    monkeypatch.setattr(rounds, "play_round", play_round)
    with pytest.raises(OSError, match="No space left on device; the last good checkpoint is step 8"):
        play(tmp_path)
    assert read_newest(tmp_path / "checkpoints")[0].facts["step"] == 8


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class CUBLASError(RuntimeError):
    """As CuPy's."""


BROKEN = {
    "no memory": (MemoryError(), "out of memory: try a smaller batch"),
    "no memory for CUDA itself": (
        CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
        "out of memory: try a ",
    ),
    "no memory for cuBLAS": (CUBLASError("CUBLAS_STATUS_ALLOC_FAILED"), "out of memory: try"),
    "no memory for our cuBLAS": (CublasError("cublasCreate_v2 failed: (status 3)"), "out of memory: try"),
    "a GPU gone": (
        CUDARuntimeError("cudaErrorIllegalAddress:\nan illegal"),
        "the GPU failed: cudaErrorIllegal.*: an il",
    ),
    "cuBLAS gone": (CublasError("cublasGemmEx failed"), "the GPU failed: cublasGemmEx failed"),
}


@pytest.mark.parametrize(("error", "words"), BROKEN.values(), ids=BROKEN)
def test_a_machine_that_fails_is_told_with_the_last_good_checkpoint(tmp_path, monkeypatch, error, words):
    real = rounds.play_round

    def play_round(game, g, d, draws):
        if draws.step == 12:
            raise error
        return real(game, g, d, draws)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "play_round", play_round)
        with pytest.raises(UserError, match=f"^{words}.*; the last good checkpoint is step 8$") as caught:
            play(tmp_path)
    assert caught.value.__cause__ is error
    play(tmp_path, resume=True)
    play(tmp_path / "unbroken")
    assert everything(tmp_path) == everything(tmp_path / "unbroken")


def test_a_mistake_of_ours_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "play_round", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        play(tmp_path)


def test_other_linear_algebra_is_noted_on_resume(tmp_path, monkeypatch):
    play(tmp_path, steps=8)
    monkeypatch.setattr(trainer, "blas_facts", lambda _device: "OtherBLAS x64")
    _, _, notes = play(tmp_path, resume=True)
    assert len(notes) == 1
    assert "this is OtherBLAS x64: it goes on, but not bit for bit" in notes[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 5}, "the checkpoint's seed is 0, this run's is 5"),
        ({"images": IMAGES[:32]}, "the run was trained on 40 images, mnist5k holds 32"),
        ({"images": IMAGES.reshape(40, 4, 9, 1)}, r"image_shape is \[6, 6, 1\], this run's is \[4, 9, 1\]"),
        ({"images": IMAGES[::-1]}, "the images of mnist5k are others than those that the run was trained on"),
        ({"images": streamed(IMAGES[::-1].__getitem__)}, "the images of mnist5k are others"),
        ({"recipe": MAXOUT}, "the checkpoint's recipe is mlp-mnist, this run's is mlp-2014"),
        ({"recipe": dataclasses.replace(SMALL, latent=4)}, r"generator\.dense1\.w is \(3, 8\), not \(4, 8\)"),
        ({"precision": "float64"}, "another --precision"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_stays(tmp_path, changes, match):
    play(tmp_path, steps=8)
    before = everything(tmp_path)
    with pytest.raises(CheckpointError, match=match):
        play(tmp_path, resume=True, **changes)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("recipe", [SMALL, MAXOUT, TOOLBOX, TOLD], ids=lambda recipe: recipe.name)
def test_looking_inside_changes_no_bit_of_a_run(tmp_path, recipe):
    play(tmp_path / "seldom", recipe, snapshot_every=1000)
    play(tmp_path / "always", recipe, snapshot_every=1)
    always, seldom = (everything(tmp_path / name)[:3] for name in ("always", "seldom"))
    assert (always[1].pop("run")["snapshot_every"], seldom[1].pop("run")["snapshot_every"]) == (1, 1000)
    assert always == seldom
    assert len(read_vitals(RunFolder(tmp_path / "always").vitals)) == STEPS


def test_rounds_that_are_not_looked_at_have_no_observer(tmp_path, monkeypatch):
    watched, real = [], rounds.play_round

    def play_round(game, g, d, draws):
        if g.observer is not None and d.observer is not None:
            watched.append(draws.step + 1)
        return real(game, g, d, draws)

    monkeypatch.setattr(rounds, "play_round", play_round)
    _, run, _ = play(tmp_path)
    assert watched == [vitals.step for vitals in run.vitals] == [6, 12, 18, 20]
    assert run.state.g.observer is run.state.d.observer is None


@pytest.mark.parametrize(("alike_from", "told"), [(6, True), (0, False), (99, False)])
def test_samples_that_have_become_all_alike_are_told_once(tmp_path, monkeypatch, capsys, alike_from, told):
    """Not those of a G that draws one image from the start, as one does that begins with the mean image."""
    alike = np.full_like(IMAGES, 128)
    monkeypatch.setattr(Trainer, "_samples", lambda self: alike if self.state.step >= alike_from else IMAGES)
    play(tmp_path, steps=15, snapshot_every=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if "collapsed" in line]
    assert [line.partition(";")[0] for line in lines] == told * [
        "step 9: G has collapsed: the spread of the samples is 0% of the data's"
    ]
    assert all("; lower both learning rates, or make the batch larger" in line for line in lines)


def test_a_nan_is_told_with_what_the_doctor_saw_before(tmp_path):
    def poison(trainer):
        trainer.rows[:] = [row | {"loss_g": 1e6} for row in trainer.rows]
        trainer.state.g.theta["dense1.w"][0, 0] = np.nan

    play(tmp_path, steps=8)
    with pytest.raises(NotFiniteError, match=r"before that, the numbers explode: the loss of G is 1e\+06 ") as caught:
        play(tmp_path, resume=True, before=poison)
    assert "\n" not in str(caught.value)


def test_a_deleted_metrics_file_costs_only_its_rows(tmp_path):
    play(tmp_path / "whole")
    play(tmp_path / "parts", steps=8)
    (tmp_path / "parts" / "metrics.csv").unlink()
    play(tmp_path / "parts", resume=True)
    tensors, _, metrics, *_ = everything(tmp_path / "parts")
    assert tensors == everything(tmp_path / "whole")[0]
    assert [row["step"] for row in read_metrics(tmp_path / "parts" / "metrics.csv")] == [10, 15, 20]
    assert metrics.splitlines()[1:] == everything(tmp_path / "whole")[2].splitlines()[2:]


def test_off_a_terminal_progress_is_plain_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    play(tmp_path, steps=10)
    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if "collapsed" not in line]
    number = r"-?\d+\.\d\d"
    losses = rf"loss D {number} G {number}"
    beliefs = rf"D\(x\) {number}  D\(G\(z\)\) {number} in D's step, {number} in G's"
    assert len(lines) == 2
    for step, line in zip((5, 10), lines, strict=True):
        assert re.fullmatch(rf"step {step}/10  \d+ step/s  {losses}  {beliefs}  \w.+", line)
    assert shown.err == ""


@pytest.mark.parametrize("recipe", [SMALL, MAXOUT], ids=lambda recipe: recipe.name)
def test_an_opened_run_draws_what_the_run_itself_drew(tmp_path, recipe):
    _, run, _ = play(tmp_path, recipe)
    write_config(run.folder, run.options, recipe)
    opened = saved.load_run(tmp_path, CPU)
    assert (opened.recipe, opened.state.step, opened.image_shape, opened.notes) == (recipe, STEPS, (6, 6, 1), [])
    images = opened.draw(run.fixed_latents)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, run._samples())


@pytest.mark.parametrize(("batch_size", "most"), [(4, saved.FEW), (20, 20)])
def test_samples_are_drawn_as_many_at_once_as_in_a_round(tmp_path, monkeypatch, batch_size, most):
    """So that a picture of many takes no more memory than training; of tiny batches a few more."""
    _, run, _ = play(tmp_path, dataclasses.replace(SMALL, batch_size=batch_size))
    forward, at_once = Sequential.forward, []

    def noting(net, theta, x, **options):
        at_once.append(len(x))
        return forward(net, theta, x, **options)

    monkeypatch.setattr(Sequential, "forward", noting)
    assert len(run._samples()) == sum(at_once)
    assert max(at_once) == most < len(run.fixed_latents)


def test_a_run_with_the_config_of_another_recipe_is_not_opened(tmp_path):
    _, run, _ = play(tmp_path, steps=1)
    write_config(run.folder, run.options, MAXOUT)
    with pytest.raises(CheckpointError, match=r"config\.toml is of mlp-2014, the checkpoint of 'mlp-mnist'"):
        saved.load_run(tmp_path, CPU)


def test_edited_constants_are_told_by_a_run_that_goes_on_and_by_one_that_is_opened(tmp_path):
    """No shape depends on the slope of its rectifiers, and with another one it draws other pictures."""
    _, run, _ = play(tmp_path, steps=8)
    edited = dataclasses.replace(SMALL, slope=0.5, lr_g=0.25)
    write_config(run.folder, run.options, edited)
    told = saved.load_run(tmp_path, CPU).notes
    assert told == [
        "config.toml says slope = 0.5, which is used; the checkpoint was made with 0.2",
        "config.toml says lr_g = 0.25, which is used; the checkpoint was made with 0.002",
    ]
    assert play(tmp_path, edited, resume=True)[2] == told
    assert saved.load_run(tmp_path, CPU).notes == []  # the new checkpoint was made with them
    assert play(tmp_path, edited, resume=True, steps=STEPS + 1)[2] == []


def test_what_a_run_keeps_to_its_end_is_told_of_where_its_config_was_edited(tmp_path):
    """The command line refuses to change it; a file can be edited."""
    play(tmp_path, steps=8, log_every=2)
    told = ["config.toml says log_every = 4, which is used; the checkpoint was made with 2"]
    assert play(tmp_path, resume=True, steps=9, log_every=4)[2] == told
    assert play(tmp_path, resume=True, steps=10, log_every=4)[2] == []


def test_a_run_of_an_older_minigan_that_told_no_constants_is_opened_and_goes_on(tmp_path):
    _, run, _ = play(tmp_path, steps=8)
    write_config(run.folder, run.options, SMALL)
    newest = read_checkpoint(checkpoint_files(run.folder.checkpoints)[0])
    facts = {name: fact for name, fact in newest.facts.items() if name not in ("constants", "run")}
    write_checkpoint(run.folder.checkpoints, Checkpoint(newest.tensors, facts))
    opened = saved.load_run(tmp_path, CPU)
    assert (opened.state.step, opened.notes) == (8, [])
    assert play(tmp_path, resume=True)[2] == []


@pytest.mark.parametrize(("batch_size", "last_batch"), [(1, "drop"), (13, "keep"), (39, "keep")])
def test_a_batch_of_one_image_is_refused_where_a_network_normalises(tmp_path, batch_size, last_batch):
    recipe = dataclasses.replace(SMALL, batch_size=batch_size)
    with pytest.raises(UsageError, match=rf"--batch-size {batch_size} with --last-batch {last_batch}.*batchnorm1"):
        Trainer(recipe, RunOptions(last_batch=last_batch), RunFolder(tmp_path), CPU, IMAGES)


@pytest.mark.parametrize(
    ("recipe", "batch_size", "last_batch"), [(SMALL, 13, "drop"), (MAXOUT, 1, "drop"), (MAXOUT, 13, "keep")]
)
def test_a_batch_of_one_image_is_fine_where_none_does(tmp_path, recipe, batch_size, last_batch):
    recipe = dataclasses.replace(recipe, batch_size=batch_size)
    assert play(tmp_path, recipe, steps=5, last_batch=last_batch)[0] == 0


def test_a_batch_larger_than_the_data_is_refused_with_the_largest_allowed(tmp_path):
    with pytest.raises(DataError, match="the largest batch allowed is 40"):
        Trainer(dataclasses.replace(SMALL, batch_size=41), RunOptions(), RunFolder(tmp_path), CPU, IMAGES)


@pytest.mark.parametrize(
    ("path", "shown"), [("runs/a", "runs/a"), ("my runs/a b", "'my runs/a b'"), ("a;b'c", "'a;b'\"'\"'c'")]
)
def test_the_resume_command_survives_the_shell(path, shown):
    assert resume_command(Path(path), 50) == f"python -m minigan.train --resume --out {shown} --steps 50"


def test_a_run_of_numbers_that_are_not_finite_is_not_opened(tmp_path):
    """Its pictures would be black and its scores would mean nothing."""
    _, run, _ = play(tmp_path, steps=1)
    write_config(run.folder, run.options, SMALL)
    newest = read_checkpoint(checkpoint_files(run.folder.checkpoints)[0])
    tensors = {name: tensor.copy() for name, tensor in newest.tensors.items()}
    tensors["generator.theta"][3] = np.nan
    write_checkpoint(run.folder.checkpoints, Checkpoint(tensors, newest.facts))
    with pytest.raises(CheckpointError, match=r"generator\.theta of the checkpoint of step 1 holds numbers"):
        saved.load_run(tmp_path, CPU)


def test_a_run_whose_folder_was_moved_writes_nothing_into_the_one_at_its_path(tmp_path):
    there, moved = tmp_path / "run", tmp_path / "moved"

    def move(trainer):
        play_on, rounds = trainer.rounds.play, trainer.rounds

        def moving(**options):
            if trainer.state.step == 10:
                there.rename(moved)
                play(there, steps=2)  # another run in its place
            return play_on(**options)

        rounds.play = moving

    with pytest.raises(
        UserError,
        match=r"run was moved or replaced .*; the last good checkpoint is step 8",
    ):
        play(there, before=move)
    assert read_newest(RunFolder(moved).checkpoints)[0].facts["step"] == 8
    assert read_newest(RunFolder(there).checkpoints)[0].facts["step"] == 2
    assert [path.name for path in RunFolder(there).sample_files()] == ["step-000000000.png", "step-000000002.png"]
    play(moved, resume=True)
    assert read_newest(RunFolder(moved).checkpoints)[0].facts["step"] == STEPS


def test_a_run_that_is_told_that_it_ends_where_it_was_stopped_has_the_last_sample(tmp_path):
    def stop(trainer):
        play_on = trainer.rounds.play

        def stopping(**options):
            if trainer.state.step == 9:
                os.kill(os.getpid(), signal.SIGTERM)
            return play_on(**options)

        trainer.rounds.play = stopping

    code, stopped, _ = play(tmp_path, before=stop)
    assert (code, stopped.state.step) == (143, 10)
    assert not stopped.folder.sample_path(10).exists()
    assert play(tmp_path, resume=True, steps=10)[0] == 0
    assert stopped.folder.sample_path(10).exists()


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_whose_output_cannot_be_written_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("minigan.runs.progress.PLAIN_SECONDS", 0)
    monkeypatch.setattr(sys, "stdout", Full())
    code, stopped, _ = play(tmp_path)
    assert code == UNREAD
    assert 0 < stopped.state.step < STEPS
    assert stopped.saved_step == stopped.state.step
    last_words(stopped, 1.0, 0)
