"""A round beside PyTorch: the same game on both sides, and a table at the end. No test here asserts a time."""

import importlib.util
import json
import os
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks import step
from benchmarks.minigan_side import CHECKED, MiniganSide, NotCaptured, without_dropout
from benchmarks.processes import ProcessFailed
from benchmarks.rounds import SEED, chosen, digits, fed, start
from minigan.backend import CPU
from minigan.cuda import cublas
from minigan.data.batches import Batches
from minigan.errors import UsageError, UserError
from minigan.interchange.torch_layout import state_dict, twin
from minigan.recipes import DCGAN64, RECIPES
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from tests import strict_graph

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch")
SMALL = {
    "mlp-mnist": ["hidden_g=7,6", "hidden_d=8,5", "latent=5"],
    "mlp-2014": ["hidden_g=6", "hidden_d=5", "latent=5"],
    "dcgan-28": ["width=3", "width_d=2", "units=9", "latent=5"],
    "dcgan-64": ["width=3", "latent=5", "size=32,16"],
    "dcgan-upsample": ["width=3", "width_d=2", "latent=5", "size=32,32"],
    "dcgan-256": ["width=2", "latent=5", "size=64,64"],
    "wgan-gp-28": ["width=2", "latent=5", "d_steps=2"],
    "cdcgan-28": ["width=2", "units=7", "latent=5", "classes=3", "decay=0.01", "init_std=0.2"],
}
OURS_ON_GPU = ["minigan plain", "minigan fused", "minigan captured"]
GAMES = [
    *((name, ()) for name in SMALL),
    ("dcgan-64", ("fresh_fakes=True",)),
    ("dcgan-upsample", ("joined=True",)),
    ("dcgan-28", ("d_steps=3",)),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small networks gain nothing from more, and wait for each other on a busy machine."""
    if HAS_TORCH:
        import torch

        torch.set_num_threads(1)


def test_every_recipe_is_here() -> None:
    assert SMALL.keys() | {"toolbox-mlp"} == RECIPES.keys()
    assert [recipe.name for recipe in step.comparable([], [], None, "cpu")] == list(RECIPES)


def test_a_recipe_that_is_named_twice_is_measured_once() -> None:
    twice = ["mlp-2014", "mlp-mnist", "mlp-2014"]
    assert [recipe.name for recipe in step.comparable(twice, [], None, "cpu")] == ["mlp-2014", "mlp-mnist"]


def test_a_game_without_a_pytorch_side_on_a_gpu_is_left_out_and_refused_by_name() -> None:
    with pytest.raises(UserError, match="toolbox-mlp plays rounds of its own"):
        step.comparable(["toolbox-mlp"], [], None, "gpu")
    assert {recipe.name for recipe in step.comparable([], [], None, "gpu")} == SMALL.keys()


@needs_torch
@pytest.mark.parametrize("variant", ["published", "tuned"])
@pytest.mark.parametrize(("name", "settings"), GAMES)
def test_pytorch_plays_the_same_game(name, settings, variant) -> None:
    """In double precision: losses of each round, and all weights after it."""
    import torch

    from benchmarks import torch_side

    (recipe,) = chosen([name], [*SMALL[name], *settings], 4)
    recipe = without_dropout(recipe)
    images = digits(recipe)
    ours = start(recipe, images, CPU, "float64")
    state = ours.state
    cpu = torch.device("cpu")
    match = torch_side.TorchMatch(recipe, images, torch_side.VARIANTS[variant], cpu, "float64")
    used = recipe.training_part(images)
    real = fed(recipe, used, Batches(len(used), recipe.batch_size, SEED), CPU)
    for number in range(2):
        metrics = ours.play()
        draws = SeededDraws(recipe, real, SEED, number, recipe.game().d_steps, np.dtype("float64"))
        losses = match.play(torch_side.Given(draws, cpu))
        assert [loss.item() for loss in losses] == pytest.approx([metrics["loss_d"], metrics["loss_g"]], rel=1e-6)
    for player, net in ((state.g, match.g), (state.d, match.d)):
        theirs = dict(net.named_parameters())
        for key, mine in state_dict(twin(player.net, player.theta.in_shape), player.theta).items():
            if key in theirs:  # the others are running statistics
                np.testing.assert_allclose(theirs[key].detach().numpy(), mine, rtol=1e-4, atol=1e-6)


@needs_torch
@pytest.mark.parametrize("tuned", [False, True], ids=["published", "tuned"])
@pytest.mark.parametrize("copy", ["learns", "forgets", "frozen"])
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_pytorch_plays_the_same_rounds_of_the_toolbox(copy, loss, tuned) -> None:
    import torch

    from benchmarks.torch_side import Given
    from benchmarks.torch_toolbox import ToolboxMatch

    settings = ["minibatch=5", "hidden_d=6", "latent=4", "decay_d=0.1", "decay_g=0.2", "lr=0.5"]
    (recipe,) = chosen(["toolbox-mlp"], [*settings, f"copy_of_d={copy}", f"loss={loss}"], 10)
    recipe = without_dropout(recipe)
    images = digits(recipe)
    ours = start(recipe, images, CPU, "float64")
    state = ours.state
    match = ToolboxMatch(recipe, images, tuned, "float64")
    real = feed(images, Batches(len(images), 10, SEED), CPU)
    for number in range(3):
        metrics = ours.play()
        draws = SeededDraws(recipe, real, SEED, number, 1, np.dtype("float64"))
        losses = match.play(Given(draws, torch.device("cpu")))
        assert [loss.item() for loss in losses] == pytest.approx([metrics["loss_d"], metrics["loss_g"]], rel=1e-9)
    pairs = [(state.g, "dense1", match.g), (state.d, "dense1", match.d.hidden), (state.d, "dense2", match.d.out)]
    for player, name, theirs in pairs:
        np.testing.assert_allclose(theirs.weight.detach().numpy().T, player.theta[f"{name}.w"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(theirs.bias.detach().numpy(), player.theta[f"{name}.b"], rtol=1e-9, atol=1e-12)


@needs_torch
@pytest.mark.parametrize("name", [*SMALL, "toolbox-mlp"])
def test_pytorch_draws_batches_like_minigan(name) -> None:
    import torch

    from benchmarks.torch_side import Drawn

    (recipe,) = chosen([name], SMALL.get(name, []), 100)
    images = digits(recipe)
    used = recipe.training_part(images)
    real = fed(recipe, used, Batches(len(used), recipe.batch_size, SEED), CPU)
    draws = SeededDraws(recipe, real, SEED, 0, 1, np.dtype("float32"))
    for channels_last in (False, True):
        drawn = Drawn(recipe, images, torch.device("cpu"), channels_last)
        x, expected = drawn.real(0), draws.real(0)
        assert x.is_contiguous(memory_format=torch.channels_last) or x.ndim == 2 or x.shape[1] == 1 or not channels_last
        np.testing.assert_array_equal((x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy(), expected)
    torch.manual_seed(0)
    theirs = np.concatenate([drawn.latent_g().numpy() for _ in range(50)])
    ours = recipe.told(recipe.draw_latents(np.random.default_rng(0), len(theirs)))
    assert theirs.shape == ours.shape
    assert theirs.std() == pytest.approx(ours.std(), rel=0.03)
    assert abs(theirs).mean() == pytest.approx(abs(ours).mean(), rel=0.03)  # 8% more of U than of N of one deviation


def test_both_sides_know_the_losses_of_the_first_round() -> None:
    (recipe,) = chosen(["dcgan-28"], SMALL["dcgan-28"], 4)
    losses = MiniganSide(recipe, "fast", 1).first_losses()
    assert len(losses) == 2 * CHECKED
    if HAS_TORCH:
        from benchmarks.torch_side import TorchSide

        assert TorchSide(recipe, "tuned", 1).first_losses() == pytest.approx(losses, rel=1e-2)


@pytest.mark.parametrize("other", [[1.0, 2.5], [1.0, float("nan")]])
def test_sides_that_play_another_game_are_not_timed(other) -> None:
    assert step.compare(DCGAN64(), {"a": [1.0, 2.0], "b": [1.0, 2.0002]}, 1e-3) == pytest.approx(1e-4)
    with pytest.raises(UserError, match=r"dcgan-64: the sides do not play the same game.* b, "):
        step.compare(DCGAN64(), {"a": [1.0, 2.0], "b": other}, 1e-3)


ARGUMENTS = ["mlp-mnist", "--set", "hidden_g=4,4", "hidden_d=4,4", "latent=2", "--batch-size", "3", "--threads", "1",
             "--rounds", "2", "--blocks", "2"]  # fmt: skip


def test_the_command_prints_tables_and_writes_them(tmp_path, capsys) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: step -->\nold\n<!-- end of table -->\nafter\n")
    assert step.main([*ARGUMENTS, "--json", str(tmp_path / "step.json"), "--write", str(page)]) == 0
    printed = capsys.readouterr().out
    document = json.loads((tmp_path / "step.json").read_text())
    (result,) = document["results"]
    names = ["minigan plain", "minigan fast"] + ["PyTorch published", "PyTorch tuned"] * HAS_TORCH
    assert list(result["sides"]) == names
    assert ("PyTorch is not installed" in printed) != HAS_TORCH
    for side in result["sides"].values():
        assert side["count"] == len(side["seconds"]) == 2
        assert side["best"] <= side["lower"] <= side["median"] <= side["upper"]
        assert side["largest_bytes"] > 2**20
        assert side["waiting"].keys() == {"seconds", "processor"}
        assert len(side["first_losses"]) == 2 * CHECKED
    assert result["constants"]["hidden_g"] == [4, 4]
    assert document["machine"]["libraries"]["numpy"] == np.__version__
    assert document["threads"] == 1
    for part in (*names, "mlp-mnist, batch 3", "--set hidden_g=4,4", "load average at the start", "x1"):
        assert part in printed
    assert page.read_text() == f"before\n<!-- table: step -->\n\n{printed.strip()}\n\n<!-- end of table -->\nafter\n"


def test_one_block_of_one_round_is_told_as_one(monkeypatch, capsys) -> None:
    monkeypatch.setattr(step, "Remote", Here)
    monkeypatch.setattr(step, "missing", lambda _: "No PyTorch in this test.")
    for count, told in (("1", "1 block of 1 round a side"), ("2", "2 blocks of 2 rounds a side")):
        assert step.main([*ARGUMENTS, "--blocks", count, "--rounds", count]) == 0
        shown = capsys.readouterr()
        assert f"mlp-mnist: {told}\n" in shown.err
        assert f"Medians of {told.partition(' of')[0]}, float32." in shown.out


def test_without_pytorch_its_columns_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    options = step.Options(threads=1)
    assert list(step.sides(options, 1)) == ["minigan plain", "minigan fast"]
    times = {"seconds": [1.0, 2.0], "waiting": {"seconds": 1.0, "processor": 0.5}, "largest_bytes": 0}
    each = {name: times | {"computed_by": "hand"} for name in step.sides(options, 1)}
    result = {"recipe": "x", "constants": {"batch_size": 1}, "difference_of_losses": 0.0, "sides": each,
              "columns": list(each), "left_out": {}}  # fmt: skip
    text = step.described([result], options, "float32")
    assert "PyTorch is not installed" in text
    assert "should sleep, but some used the processor: x, minigan plain 50%, x, minigan fast 50%" in text


@needs_torch
def test_pytorch_without_a_gpu_is_left_out_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(step.sides(step.Options(device="gpu"), 1)) == OURS_ON_GPU
    assert "sees no GPU" in step.missing("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert list(step.sides(step.Options(device="gpu"), 1)) == [*OURS_ON_GPU, "PyTorch eager", "PyTorch compiled"]


class Here:
    """In the place of Remote: in this process, where the stand-in is."""

    def __init__(self, make, *arguments) -> None:
        self._subject = make(*arguments)

    def __call__(self, method: str, *arguments):
        return getattr(self._subject, method)(*arguments)

    def waiting(self) -> dict[str, float]:
        return {"seconds": 1.0, "processor": 0.0}

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._subject._open.close()


@pytest.fixture
def here(strict, monkeypatch):
    monkeypatch.setattr(step, "Remote", Here)
    monkeypatch.setattr(step, "missing", lambda _: "No PyTorch in this test.")
    monkeypatch.setenv("CUPY_TF32", "0")  # the sides set it
    return strict


@pytest.mark.usefixtures("here")
def test_on_a_gpu_there_are_three_ways(tmp_path, capsys) -> None:
    assert step.main([*ARGUMENTS, "--device", "gpu", "--json", str(tmp_path / "step.json")]) == 0
    (result,) = json.loads((tmp_path / "step.json").read_text())["results"]
    assert list(result["sides"]) == OURS_ON_GPU
    told = {name: side["computed_by"] for name, side in result["sides"].items()}
    assert told["minigan fused"].startswith("CuPy ")
    assert "TF32 off, fused kernels" in told["minigan fused"]
    assert told["minigan captured"] == told["minigan fused"] + ", captured rounds"
    assert result["left_out"] == {}
    assert "| minigan plain | minigan fused | minigan captured |" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("kernels", "capture"), [("plain", False), ("fast", False), ("fast", True)])
def test_each_way_computes_as_it_says(kernels, capture) -> None:
    """Products by CuPy or by our own calls of cuBLAS; rounds started by the host or by a graph."""
    (recipe,) = chosen(["mlp-mnist"], SMALL["mlp-mnist"], 4)
    with Here(MiniganSide, recipe, kernels, 1, "gpu", False, capture) as side, patch.object(cublas, "_launch") as ours:
        for _ in range(2):
            side("seconds_a_round", 1)
        ours.reset_mock()
        before = strict_graph.operations
        side("seconds_a_round", 5)
        operations = strict_graph.operations - before
    assert ours.called == (kernels == "fast" and not capture)
    assert (operations == 0) == capture


@pytest.mark.usefixtures("here")
def test_tf32_reaches_every_product() -> None:
    (recipe,) = chosen(["mlp-mnist"], SMALL["mlp-mnist"], 4)
    losses = {}
    for tf32 in (False, True, False):
        with Here(MiniganSide, recipe, "fast", 1, "gpu", tf32) as side:
            assert os.environ["CUPY_TF32"] == str(int(tf32))  # where CuPy reads it
            assert f"TF32 {'on' if tf32 else 'off'}" in side("facts")["computed_by"]
            losses.setdefault(tf32, side("first_losses"))
            assert side("first_losses") == losses[tf32]
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("device", ["gpu", "gpu:0"])
def test_tf32_is_told_of_with_the_times(device, tmp_path, capsys) -> None:
    assert step.main([*ARGUMENTS, "--device", device, "--tf32", "--json", str(tmp_path / "step.json")]) == 0
    document = json.loads((tmp_path / "step.json").read_text())
    assert (document["precision"], document["tolerance"]) == ("float32 with TF32 products", 0.1)
    assert "TF32 on" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_refused_capture_is_said_and_not_timed(tmp_path, monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(strict_graph.Stream, "begin_capture", refuse)
    assert step.main([*ARGUMENTS, "--device", "gpu", "--json", str(tmp_path / "step.json")]) == 1
    (result,) = json.loads((tmp_path / "step.json").read_text())["results"]
    assert list(result["sides"]) == OURS_ON_GPU[:2]
    assert list(result["left_out"]) == OURS_ON_GPU[2:]
    shown = capsys.readouterr().out
    assert shown.splitlines()[2].endswith("|     not captured |")
    assert (
        "mlp-mnist, minigan captured, not captured: rounds go operation by operation, as the capture was refused: "
        "cudaErrorStreamCaptureUnsupported."
    ) in shown


@pytest.mark.usefixtures("here")
def test_a_game_that_is_never_captured_is_not_timed_as_if_it_were() -> None:
    (recipe,) = chosen(["toolbox-mlp"], ["minibatch=2", "hidden_d=4", "latent=3"], 4)
    with (
        Here(MiniganSide, recipe, "fast", 1, "gpu", False, True) as side,
        pytest.raises(NotCaptured, match="toolbox-mlp plays rounds of its own"),
    ):
        side("seconds_a_round", 1)


def test_ratios_are_those_of_the_captured_rounds() -> None:
    times = {"minigan plain": 8.0, "minigan fused": 4.0, "minigan captured": 1.0, "PyTorch eager": 2.0}
    facts = {"waiting": {"seconds": 1.0, "processor": 0.0}, "largest_bytes": 0, "computed_by": "hand"}
    result = {
        "recipe": "x", "constants": {"batch_size": 1}, "difference_of_losses": 0.0,
        "columns": [*times, "PyTorch compiled"], "left_out": {"PyTorch compiled": ("failed", "no compiler")},
        "sides": {name: facts | {"seconds": [seconds]} for name, seconds in times.items()},
    }  # fmt: skip
    head, _, row, *_ = step.described([result], step.Options(device="gpu"), "float32").splitlines()
    assert head.endswith("| minigan captured / PyTorch eager | minigan captured / PyTorch compiled |")
    assert row.replace(" ", "") == "|x,batch1|8000|4000|1000|2000|failed|0.50||"


def test_kernels_without_numba_are_a_side_of_their_own() -> None:
    """Also where numba is installed: the side's process does as if it were not."""
    makers = step.sides(step.Options(without_numba=True), 1)
    assert list(makers)[:3] == ["minigan plain", "minigan fast without numba", "minigan fast"]
    with makers["minigan fast without numba"](RECIPES["mlp-mnist"]()) as side:
        assert "fast kernels (NumPy)" in side("facts")["computed_by"]


def test_without_numba_is_compared_with_numba() -> None:
    times = {"minigan plain": 8.0, "minigan fast without numba": 3.0, "minigan fast": 2.0, "PyTorch tuned": 4.0}
    facts = {"waiting": {"seconds": 1.0, "processor": 0.0}, "largest_bytes": 0, "computed_by": "hand"}
    result = {
        "recipe": "x", "constants": {"batch_size": 1}, "difference_of_losses": 0.0, "columns": list(times),
        "left_out": {}, "sides": {name: facts | {"seconds": [seconds]} for name, seconds in times.items()},
    }  # fmt: skip
    head, _, row, *_ = step.described([result], step.Options(), "float32").splitlines()
    assert head.endswith("| minigan fast / PyTorch tuned | minigan fast without numba / minigan fast |")
    assert row.replace(" ", "").endswith("|0.50|1.50|")


def test_a_side_that_breaks_is_left_out_and_the_others_are_timed(capsys) -> None:
    def broken(_recipe) -> None:
        raise ProcessFailed("Traceback ...\nRuntimeError: no compiler\n")

    makers = {"minigan fast": lambda recipe: Here(MiniganSide, recipe, "fast", 1), "PyTorch compiled": broken}
    (recipe,) = chosen(["mlp-mnist"], SMALL["mlp-mnist"], 4)
    with ExitStack() as stack:
        found = step.warm(recipe, makers, stack)
        assert found.remotes.keys() == found.losses.keys() == found.once.keys() == {"minigan fast"}
        assert found.left_out == {"PyTorch compiled": ("failed", "RuntimeError: no compiler")}
        with pytest.raises(UserError, match="mlp-mnist: PyTorch compiled: RuntimeError: no compiler"):
            step.warm(recipe, {"PyTorch compiled": broken}, stack)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["mlp-mnits"], "unknown recipe 'mlp-mnits'; did you mean 'mlp-mnist'"),
        (["--set", "widht=3"], "no such constant; did you mean 'width'"),
        (["--set", "width=x"], "--set width=x: expected a value like"),
        (["--set", "width"], "write NAME=VALUE"),
        (["--blocks", "0"], "--blocks 0 is out of range"),
        (["--write", "nothing.md"], "nothing.md: No such file"),
        (["--device", "gpu", "--without-numba"], "^--without-numba is for the CPU: on a GPU no kernel is numba's$"),
        (["--tf32"], "^--tf32 is for GPUs, as no CPU multiplies in TF32: add --device gpu$"),
        (["--tf32", "--device", "auto"], "--tf32 is for GPUs"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, part) -> None:
    with pytest.raises(UsageError, match=part):
        step.main(arguments)
