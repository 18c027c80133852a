"""Captured rounds on the stand-in: the same bits as operation by operation, from one launch and without waiting."""

import dataclasses
import threading
import weakref
from contextlib import nullcontext

import numpy as np
import pytest

from minigan import ops
from minigan.backend import CPU
from minigan.data.batches import Batches
from minigan.data.stream import StreamedImages
from minigan.evaluation import material
from minigan.games import Game, non_saturating, r1, wgan_gp
from minigan.optim import Adam, Cyclical, ExponentialDecay, RMSprop
from minigan.parallel.team import Team
from minigan.recipes import CDCGAN28, DCGAN64, MLP2014, WGANGP28, MLPMnist, ToolboxMLP
from minigan.runs import captured, pictures
from minigan.runs.captured import CapturedRounds, at_once, rounds
from minigan.runs.checkpoint import read_newest
from minigan.runs.feed import feed
from minigan.runs.folder import RunFolder
from minigan.runs.gauge import Watch
from minigan.runs.inbox import AHEAD, ALIGNMENT, Inbox
from minigan.runs.options import RunOptions
from minigan.runs.rounds import Rounds
from minigan.runs.state import State
from minigan.runs.trainer import Trainer
from tests import strict_graph
from tests.strict_cupy import counting, forbid_dtype

ROUNDS = 10
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 1), dtype=np.uint8)
SMALL = MLPMnist(batch_size=4, latent=3, hidden_g=(8,), hidden_d=(8,))
MAXOUT = MLP2014(batch_size=4, latent=3, hidden_g=8, hidden_d=4, pieces=2)


@pytest.fixture(autouse=True)
def cublas_of_cupy(monkeypatch):
    """May be captured here: the products are plain, and this is about rounds."""
    monkeypatch.setattr(strict_graph, "cublas_refused", False)


class Scheduled(MLPMnist):
    """Rules of which every number that may change does, real images that are changed, an average."""

    def optimisers(self, batches_per_epoch):
        return Adam(ExponentialDecay(0.01, 1.1), beta1=0.5), RMSprop(Cyclical(1e-3, 1e-2, 4))


class Ordered(MLPMnist):
    """Any rules of the round."""

    rules = Game(non_saturating())

    def game(self):
        return self.rules


def ordered(**rules):
    kind = type("Ordered", (Ordered,), {"rules": Game(non_saturating(), **rules)})
    return kind(batch_size=4, latent=3, hidden_g=(8,), hidden_d=(8,))


SCHEDULED = Scheduled(batch_size=4, latent=3, hidden_g=(8,), hidden_d=(8,), flip=True, jitter=0.3, average=0.9)
RECIPES = {
    "mlp-mnist": SMALL,
    "schedules, average, flip, jitter": SCHEDULED,
    "mlp-2014": MAXOUT,  # dropout
    "dcgan-64": DCGAN64(batch_size=2, latent=3, width=1),
    "two steps, reusing": ordered(d_steps=2, reuse_fakes=True),
    "generator first": ordered(order="generator-first", d_steps=2),
    "joined": ordered(joined=True),
    "wgan-gp-28": WGANGP28(batch_size=2, latent=3, width=1, d_steps=2),
    "cdcgan-28": CDCGAN28(batch_size=2, latent=3, width=1, units=4),
    "R1, dropout": ordered(penalty=r1(2.0)),
    "joined, penalty between": ordered(joined=True, penalty=wgan_gp(2.0)),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def images_for(recipe):
    return np.random.default_rng(0).integers(0, 256, (20, *(recipe.image_size or (6, 6)), 1), dtype=np.uint8)


def players(recipe, device, dtype="float32", images=None, **options):
    """The rounds of a new run."""
    images = images_for(recipe) if images is None else images
    batches = Batches(len(images), recipe.batch_size, 0, **options)
    state = State.start(recipe, images, batches.per_epoch, 0, np.dtype(dtype), device)
    there = feed(images, batches, device, labels=np.arange(len(images)) % 10)
    return rounds(recipe, at_once(recipe.game()), state, there, 0, "fast")


def play(run, count=ROUNDS, watched=()):
    """What each round measured, on the host."""
    with run:
        return [{k: float(v) for k, v in run.play(step in watched).items()} for step in range(count)]


def same(first, second):
    """Everything that a checkpoint holds, and the versions against which caches are checked."""
    mine, theirs = first.state.tensors(), second.state.tensors()
    assert mine.keys() == theirs.keys()
    versions = [[who.theta.version for who in run.state.players.values()] for run in (first, second)]
    return (
        all(np.array_equal(mine[name], theirs[name]) for name in mine)
        and first.state.facts() == second.state.facts()
        and versions[0] == versions[1]
    )


# The same as operation by operation ---------------------------------------------------------------------


@every_recipe
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_captured_rounds_are_those_of_the_cpu_to_the_bit(recipe, dtype, strict):
    plain, there = players(recipe, CPU, dtype), players(recipe, strict, dtype)
    with forbid_dtype(*["float64"] * (dtype == "float32")):
        assert play(there) == play(plain)
    assert same(there, plain)
    assert there.complaint() == ""


@every_recipe
def test_a_replayed_round_is_one_copy_and_one_launch(recipe, strict):
    """Nothing is started besides, so nothing can be allocated; nothing waits; what was measured lies where it lay."""
    run = players(recipe, strict)
    with run:
        for _ in range(captured.WARM_UP + 1):
            measured = run.play()
        graph, before = run._graph, strict_graph.operations
        with counting() as counts:
            for _ in range(ROUNDS):
                again = run.play()
                assert all(again[name] is measured[name] for name in measured)
    assert strict_graph.operations == before
    assert (counts.waits, counts.copies) == ([], ["set"] * ROUNDS)
    assert graph.launches == ROUNDS + 1


def test_what_is_delivered_does_not_grow_with_the_masks(strict):
    """Images, z, the state of a generator, coefficients: a place each, where masks would be 48,000 numbers."""

    def delivered(recipe):
        run = players(recipe, strict)
        play(run, captured.WARM_UP + 1)
        return run._inbox._size

    wide = dataclasses.replace(MAXOUT, hidden_d=3000)
    assert delivered(wide) == delivered(MAXOUT) == 4 * ALIGNMENT


def test_two_rounds_go_before_the_capture_and_the_third_is_played_once(strict):
    run = players(SMALL, strict)
    with run:
        for _ in range(captured.WARM_UP):
            run.play()
            assert run._graph is None
        run.play()
    assert run._graph.launches == 1
    assert run.state.step == run.state.g.updates == 3


def test_the_streams_wait_for_each_other_at_both_ends_and_threads_end(strict):
    """What was put on the device before came by another stream; what is read afterwards is read by that one."""
    run, threads = players(SMALL, strict), threading.active_count()
    with counting() as counts:
        with run:
            assert (counts.synchronisations, strict.xp.cuda.get_current_stream()) == (1, run._stream)
            for _ in range(ROUNDS):
                run.play()
            assert threading.active_count() > threads
            assert counts.synchronisations == 1
        assert counts.synchronisations == 2
    assert strict.xp.cuda.get_current_stream().null
    assert threading.active_count() == threads


@every_recipe
def test_watched_rounds_in_between_change_nothing_and_are_seen(recipe, strict):
    plain, there = players(recipe, CPU), players(recipe, strict)
    play(plain)
    seen = []
    with there:
        for step in range(ROUNDS):
            if step in (0, 4, 5, 9):
                with Watch(there.state) as watch:
                    there.play(watched=True)
                seen.append(set(watch.gradients))
            else:
                there.play()
    assert same(there, plain)
    assert seen == [{"G", "D"}] * 4
    assert there._graph.launches == ROUNDS - captured.WARM_UP - 3


# What has to be noticed ---------------------------------------------------------------------------------


def baked_in(monkeypatch):
    monkeypatch.setattr(CapturedRounds, "_ready", lambda _self, _role, _t: None)


def baked_average(monkeypatch):
    finish = State.finish_round
    monkeypatch.setattr(State, "finish_round", lambda self, decay, _ready: finish(self, decay))


def numbers_of_another_round(monkeypatch):
    settle = Inbox.settle
    monkeypatch.setattr(Inbox, "settle", lambda self, draws: settle(self, lambda step: draws(step + 1)))


def not_counted(monkeypatch):
    monkeypatch.setattr(CapturedRounds, "_count", lambda _self, _counters: None)


def not_launched(monkeypatch):
    monkeypatch.setattr(strict_graph.Graph, "launch", lambda _self, _stream: None)


@pytest.mark.parametrize("bug", [baked_in, baked_average, numbers_of_another_round, not_counted, not_launched])
def test_planted_bugs_change_bits(bug, strict, monkeypatch):
    plain = players(SCHEDULED, CPU)
    play(plain)
    bug(monkeypatch)
    there = players(SCHEDULED, strict)
    try:
        play(there)
    except ValueError:  # found on the way
        return
    assert not same(there, plain)


def common_pool(run, monkeypatch):
    monkeypatch.setattr(run.feed.device.xp.cuda, "using_allocator", lambda _allocator: nullcontext())


def dropped_pool(run, _monkeypatch):
    run._pool = run.feed.device.xp.cuda.MemoryPool()


def used_pool(run, monkeypatch):
    def in_the_pool():
        with run.feed.device.xp.cuda.using_allocator(run._pool.malloc):
            return CapturedRounds._by_operation(run)

    monkeypatch.setattr(run, "_by_operation", in_the_pool)


def other_stream(run, monkeypatch):
    monkeypatch.setattr(type(run._stream), "__enter__", lambda _self: strict_graph._streams.append(None))


@pytest.mark.parametrize(
    ("bug", "after", "words"),
    [
        (common_pool, 0, "common pool"),
        (dropped_pool, 4, "is gone"),
        (used_pool, 4, "from the pool of a graph"),
        (other_stream, 0, "not one that is being captured"),
    ],
)
def test_memory_and_stream_are_those_of_the_graph_alone(bug, after, words, strict, monkeypatch):
    run = players(SMALL, strict)
    real = run.play

    def play_with_bug(watched):
        if run.state.step == after:
            bug(run, monkeypatch)
        return real(watched)

    if bug is other_stream:
        bug(run, monkeypatch)
    monkeypatch.setattr(run, "play", play_with_bug)
    with pytest.raises(AssertionError, match=words):
        play(run, watched=[6])


def test_on_a_gpu_two_batches_go_through_d_at_once_and_elsewhere_apart(strict):
    def game_of(recipe, device, kernels="fast", processes=1):
        run = players(recipe, device)
        shared = dataclasses.replace(run.feed, team=Team(0, processes))
        return rounds(recipe, recipe.game(), run.state, shared, 0, kernels).game

    assert game_of(SMALL, strict).at_once
    assert not game_of(SMALL, CPU).at_once
    assert not game_of(SMALL, strict, "plain").at_once
    assert not game_of(SMALL, strict, processes=2).at_once
    assert not game_of(RECIPES["joined"], strict).at_once


# Where nothing is captured ------------------------------------------------------------------------------


def test_on_a_cpu_there_is_nothing_to_say():
    run = players(SMALL, CPU)
    assert type(run) is Rounds
    assert run.words == ""


def test_what_keeps_rounds_from_being_captured_is_said(strict):
    toolbox = ToolboxMLP(batch_size=4, minibatch=2, latent=3, hidden_d=4)
    streamed = StreamedImages(IMAGES.shape[1:], IMAGES.__getitem__, range(len(IMAGES)))
    short = IMAGES[:18]
    two = dataclasses.replace(feed(IMAGES, Batches(20, 4, 0), strict), team=Team(0, 2))
    assert players(toolbox, strict).words.endswith("operation by operation: toolbox-mlp plays rounds of its own")
    assert players(SMALL, strict, images=streamed).words.endswith(": images are made while training goes on")
    assert players(SMALL, strict, images=short, last="keep").words.endswith("is smaller than the others")
    assert captured.why_not(SMALL, SMALL.game(), two) == "processes share the batches"
    plain = rounds(SMALL, SMALL.game(), players(SMALL, strict).state, two, 0, "plain")
    assert (type(plain), plain.words) == (Rounds, "rounds go operation by operation: --kernels plain")
    for run in (players(SMALL, strict, images=short, last="drop"), players(SMALL, strict, last="keep")):
        assert type(run) is CapturedRounds
        assert run.words == "rounds are captured: each is one launch of a graph"


def test_a_refused_capture_is_told_once_and_costs_nothing(strict, monkeypatch):
    """CuPy's own cuBLAS refuses."""
    monkeypatch.setattr(strict_graph, "cublas_refused", True)
    plain, there = players(SCHEDULED, CPU), players(SCHEDULED, strict)
    pool = weakref.ref(there._pool)
    assert play(there) == play(plain)
    assert same(there, plain)
    assert there._graph is pool() is None
    said = there.complaint()
    assert said.startswith("rounds go operation by operation, as the capture was refused: ")
    assert "cuBLAS" in said
    assert there.complaint() == ""


@pytest.mark.gpu
@every_recipe
def test_a_real_gpu_replays_what_it_computes_operation_by_operation(recipe, gpu):
    """To the bit, and the CPU's numbers nearly; nothing that is captured may be refused."""
    with ops.fast_kernels(1):
        replayed, watched, on_cpu = players(recipe, gpu), players(recipe, gpu), players(recipe, CPU)
        measured = play(replayed)
        assert (replayed.complaint(), replayed._graph is not None) == ("", True)
        assert play(watched, watched=range(ROUNDS)) == measured
        assert same(replayed, watched)
        for here, there in zip(play(on_cpu), measured, strict=True):
            assert here == pytest.approx(there, rel=1e-2, abs=1e-3)


# In a run -----------------------------------------------------------------------------------------------


def train(path, device, recipe, resume=False, **options):
    folder = RunFolder(path)
    folder.open()
    sparse = {"log_every": 5, "snapshot_every": 6, "checkpoint_every": 8, "steps": 20}
    try:
        trainer = Trainer(recipe, RunOptions(**sparse | options), folder, device, IMAGES)
        if resume:
            trainer.resume()
        else:
            folder.clear()
        assert trainer.run() == 0
        return trainer
    finally:
        folder.close()


def everything(path):
    folder = RunFolder(path)
    checkpoint, _ = read_newest(folder.checkpoints)
    tensors = {name: t.tobytes() for name, t in checkpoint.tensors.items()}
    pictures_of_samples = {file.name: file.read_bytes() for file in folder.sample_files()}
    del checkpoint.facts["blas"]  # which names the device
    return tensors, checkpoint.facts, folder.metrics.read_bytes(), folder.vitals.read_bytes(), pictures_of_samples


@pytest.mark.parametrize("recipe", [SCHEDULED, MAXOUT], ids=["schedules", "dropout"])
@pytest.mark.parametrize("stop", [1, 7])
def test_runs_are_those_of_the_cpu_also_after_a_resume(tmp_path, recipe, stop, strict, monkeypatch):
    """Rows, snapshots with vitals and checkpoints in between; threads end with the run."""
    monkeypatch.setattr(pictures, "save_curves", lambda _path, _rows, **_: None)
    monkeypatch.setattr(material, "classifier_name", lambda _source, _shape: None)
    with monkeypatch.context() as patch:
        game = at_once(recipe.game())
        patch.setattr(type(recipe), "game", lambda _self: game)
        train(tmp_path / "cpu", CPU, recipe)
    whole = train(tmp_path / "whole", strict, recipe)
    train(tmp_path / "parts", strict, recipe, steps=stop)
    train(tmp_path / "parts", strict, recipe, resume=True)
    expected = everything(tmp_path / "cpu")
    assert everything(tmp_path / "whole") == expected
    assert everything(tmp_path / "parts")[:4] == expected[:4]
    assert whole.rounds._graph.launches == 20 - captured.WARM_UP - len([6, 12, 18, 20])
    assert AHEAD < 20


def test_it_is_said_at_the_start_how_rounds_are_played(tmp_path, strict, capsys):
    from minigan import train as command
    from minigan.data.sources import Dataset
    from minigan.parallel.team import ALONE

    folder = RunFolder(tmp_path / "run")
    folder.open()
    try:
        command.prepare(RunOptions(steps=1), SMALL, folder, strict, ALONE, Dataset(IMAGES, None, "digits"))
    finally:
        folder.close()
    assert "rounds are captured: each is one launch of a graph" in capsys.readouterr().out.splitlines()
