"""Options: recipe, then file, then command line; and every mistake is named."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from minigan.errors import UsageError
from minigan.recipes import DCGAN28, DCGAN64, MLP2014, RECIPES, MLPMnist
from minigan.runs.config import parse_command, read_run_config, write_config
from minigan.runs.folder import RunFolder
from minigan.runs.options import CALL_ONLY, FREE_ON_RESUME, STORED, RunOptions


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def toml(text, name="x.toml"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def stored_run(name="run", **options):
    folder = RunFolder(Path(name))
    folder.path.mkdir()
    write_config(folder, RunOptions(**options), MLPMnist(hidden_g=(8, 9), lr_g=0.5))
    return folder


def refused(*argv, match):
    with pytest.raises(UsageError, match=match) as caught:
        parse_command(argv)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_without_arguments_it_is_the_default_recipe():
    assert parse_command([]) == (RunOptions(), MLPMnist())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_named_first(name):
    options, recipe = parse_command([name, "--steps", "5"])
    assert (options, recipe) == (RunOptions(steps=5), RECIPES[name]())


def test_every_constant_and_every_option_can_be_set_on_the_command_line():
    options, recipe = parse_command(
        shlex.split(
            "mlp-mnist --hidden-g 3 4 5 --lr-g=1e-3 --average 0 --data mnist:x --epochs 2 --seed 7 --device cpu "
            "--precision float64 --last-batch keep --log-every 1 --snapshot-every 2 --checkpoint-every 3 "
            "--out 'a b' --overwrite --debug"
        )
    )
    assert recipe == MLPMnist(hidden_g=(3, 4, 5), lr_g=1e-3, average=0.0)
    assert options == RunOptions(
        data="mnist:x", epochs=2, seed=7, device="cpu", precision="float64", last_batch="keep", log_every=1,
        snapshot_every=2, checkpoint_every=3, out=Path("a b"), overwrite=True, debug=True,
    )  # fmt: skip


def test_the_command_line_wins_over_the_file_and_the_file_over_the_recipe():
    file = toml('recipe = "mlp-2014"\n[run]\nseed = 3\nlog_every = 4\n[constants]\nlatent = 7\nlr = 0.5\n')
    options, recipe = parse_command(["--config", file, "--seed", "9", "--lr", "0.25"])
    assert options == RunOptions(seed=9, log_every=4, config=Path(file))
    assert recipe == MLP2014(latent=7, lr=0.25)


def test_a_file_may_leave_the_recipe_out_and_the_command_line_may_name_it():
    file = toml("[constants]\nlatent = 7\n")
    assert parse_command(["--config", file])[1] == MLPMnist(latent=7)
    assert parse_command(["mlp-2014", "--config", file])[1] == MLP2014(latent=7)


@pytest.mark.parametrize(
    ("in_file", "argv", "expected"),
    [
        ("steps = 5", ["--epochs", "2"], (None, 2)),
        ("epochs = 2", ["--steps=5"], (5, None)),
        ("steps = 5", [], (5, None)),
    ],
)
def test_steps_and_epochs_replace_each_other_across_file_and_command_line(in_file, argv, expected):
    options, _ = parse_command(["--config", toml(f"[run]\n{in_file}\n"), *argv])
    assert (options.steps, options.epochs) == expected


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        (RunOptions(), MLPMnist()),
        (RunOptions(steps=7, seed=2**32 - 1, precision="float64"), MLP2014(lr=1 / 3, momentum_epochs=3)),
        (RunOptions(epochs=3, data="mnist:/a b/-x'\"\\é", last_batch="keep"), MLPMnist(hidden_g=(5,), hidden_d=())),
        (RunOptions(data="mnist:/bytes-\udcff-that-are-no-text"), MLPMnist(lr_g=1e-9, average=0.0)),
        (RunOptions(data="--overwrite", log_every=3, snapshot_every=4, checkpoint_every=5), MLPMnist()),
    ],
    ids=["defaults", "numbers", "path", "undecodable path", "looks like an option"],
)
def test_config_toml_gives_back_the_same_options(options, recipe):
    folder = RunFolder(Path())
    write_config(folder, options, recipe)
    assert read_run_config(folder.config) == (options, recipe)
    again = parse_command(["--config", "config.toml"])
    assert again == (dataclasses.replace(options, config=Path("config.toml")), recipe)


def test_what_belongs_to_one_call_is_not_stored():
    call = {"out": Path("x"), "device": "cpu", "overwrite": True, "debug": True}
    write_config(RunFolder(Path()), RunOptions(**call), MLPMnist())
    assert read_run_config(Path("config.toml"))[0] == RunOptions()
    assert not {*call, *CALL_ONLY} & {*STORED}


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["mlp-mnits"], r"unknown recipe 'mlp-mnits'; did you mean 'mlp-mnist'\?; there are mlp-mnist, mlp-2014"),
        ([""], "unknown recipe ''; there are"),
        (["--steps", "5", "mlp-2014"], "mlp-2014"),
        (["--stpes", "5"], r"--stpes.*--steps"),
        (["--step", "5"], r"Unrecognized.*--step\b"),
        (["--res"], r"Unrecognized.*--res\b"),
        (["--hiden-g", "5"], "--hidden-g"),
        (["--steps", "many"], "^--steps takes a whole number, got 'many' "),
        (["--seed", "1e3"], "^--seed takes a whole number, got '1e3' "),
        (["--steps"], "--steps"),
        (["--steps", "1.5"], "--steps.*'1.5'"),
        (["--steps", "0"], "--steps 0 is out of range: the smallest is 1"),
        (["--epochs", "-1"], "--epochs -1 is out of range"),
        (["--log-every", "0"], "--log-every 0 is out of range"),
        (["--evaluate-every", "-1"], "--evaluate-every -1 is out of range: the smallest is 0, never"),
        (["--keep-every", "-1"], "--keep-every -1 is out of range: the smallest is 0, never"),
        (["--steps", str(10**12 + 1)], "--steps 1000000000001 is out of range: the largest is 1000000000000"),
        (["--checkpoint-every", "9" * 20], "--checkpoint-every 99999999999999999999 is out of range: the largest"),
        (["--threads", "1025"], "--threads 1025 is out of range: the largest is 1024"),
        (["--seed", "-1"], "--seed -1 is out of range: allowed are 0 to 4294967295"),
        (["--seed", str(2**32)], "--seed 4294967296 is out of range"),
        (["--precision", "float16"], "'float16'.*--precision.*float32.*float64"),
        (["--last-batch", "half"], "'half'.*--last-batch.*drop.*keep"),
        (["--lr-g", "0"], "--lr-g 0.0 is out of range: allowed are 1e-09 to 10"),
        (["--lr-g", "nan"], "--lr-g nan is out of range"),
        (["--lr-g", "inf"], "--lr-g inf is out of range"),
        (["--lr-g", "fast"], "^--lr-g takes a number, got 'fast' "),
        (["--image-memory", "all"], "^--image-memory takes a number, got 'all' "),
        (["--average", "1"], "--average 1.0 is out of range"),
        (["--hidden-g", "8", "0"], "--hidden-g 0 is out of range"),
        (["--batch-size", "0"], "--batch-size 0 is out of range"),
        (["--steps", "5", "--epochs", "5"], "--steps and --epochs both say how long"),
        (["--resume", "--overwrite", "--out", "run"], "--resume goes on .* --overwrite throws it away"),
        (["--resume", "--out", "run", "--config", "run/config.toml"], "leave --config out"),
        (["--resume", "--out", "nothing"], "no run to resume in nothing"),
        (["--resume"], "no run with a checkpoint in runs/"),
        (["--config", "nothing.toml"], "cannot read nothing.toml: No such file"),
        (["--config", "."], "cannot read .: Is a directory"),
        (["--debug", "yes"], "yes"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_named_in_one_line(argv, match):
    stored_run()
    refused(*argv, match=match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[[[", "is no valid TOML"),
        ("a = " + "[" * 5000, "is no valid TOML"),
        ("\ufeff\ufeffrecipe = 1", "is no valid TOML"),
        (f"[run]\nseed = {hex(16**5000)}", "seed is too large a number"),
        ('recipe = "mlp-2015"', "unknown recipe 'mlp-2015'; did you mean 'mlp-2014'"),
        ("recipe = 5", "unknown recipe 5"),
        ("recipe = false", "unknown recipe False"),
        ('recipe = ["mlp-mnist"]', "unknown recipe"),
        ("[rnu]\nsteps = 1", "'rnu' is not understood; did you mean 'run'"),
        ("steps = 1", r"'steps' is not understood; a file has recipe = .* and the sections \[run\] and \[constants\]"),
        ("run = 1", "'run' is not understood; a file has"),
        ("[recipe]\nx = 1", "'recipe' is not understood; a file has"),
        ("[[run]]\nsteps = 1", "'run' is not understood"),
        ("[run]\nstpes = 1", "unknown key 'stpes' for mlp-mnist; did you mean 'steps'"),
        ("[constants]\nhiden_g = [1]", "unknown key 'hiden_g' for mlp-mnist; did you mean 'hidden_"),
        ('recipe = "mlp-2014"\n[constants]\nlr_g = 1.0', "unknown key 'lr_g' for mlp-2014; did you mean 'lr'"),
        ('[run]\n"" = 1', "unknown key ''"),
        ("[run]\nhelp = true", "unknown key 'help'"),
        ('[run]\n"tyro-print-completion" = "bash"', "unknown key"),
        *[(f"[run]\n{key} = true", f"unknown key '{key}'") for key in CALL_ONLY],
        ("[run]\nsteps = true", "steps = true: steps is neither true nor false"),
        ("[run]\nsteps = false", "steps = false: steps is neither true nor false"),
        ("[run]\ntf32 = 1", "tf32 = 1: tf32 is true or false"),
        ("[run]\nsteps = " + "1" * 5000, "is no valid TOML"),
        ("[run]\nseed = 1.5", "--seed.*'1.5'"),
        ('[run]\nseed = "--debug"', "--seed"),
        ("[run]\nseed = []", "seed is one value, not a list"),
        ("[run]\nseed = -1", "--seed -1 is out of range"),
        ("[run]\nseed = 2020-01-01", "--seed"),
        ("[run.seed]\nx = 1", "--seed"),
        ("[run]\nsteps = 1\nepochs = 1", "give one of them"),
        ("[constants]\nlr_g = nan", "--lr-g nan is out of range"),
        ("[constants]\nlatent = [1, 2]", r"latent = \[1, 2\]: latent is one value, not a list"),
        ("[run]\nkeep_every = [5]", r"keep_every = \[5\]: keep_every is one value, not a list"),
        ("[run]\nsteps = []", r"steps = \[\]: steps is one value, not a list"),
        ('[constants]\nhidden_g = [8, "--overwrite"]', "hidden_g.*only numbers"),
        ("[constants]\nhidden_g = [8, true]", "only numbers"),
        ("[constants]\nhidden_g = [[8]]", "only numbers"),
        ("[constants]\nhidden_g = [8.5]", "--hidden-g"),
        ('[constants]\nhidden_g = "wide"', "--hidden-g"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_named_with_the_file_in_one_line(text, match):
    refused("--config", toml(text), match=rf"x\.toml.*{match}")


def test_a_file_that_is_no_text_is_refused():
    Path("x.toml").write_bytes(b"\xff\xfe\x00r")
    refused("--config", "x.toml", match="x.toml is no valid TOML")


def test_a_file_too_long_for_settings_is_not_read_to_its_end():
    """A key of 40,000 bytes and as many dots takes eight seconds to read; /dev/zero has no end."""
    refused("--config", toml(f"{'a.' * 20_000}a = 1"), match="more than 16384 bytes")
    if Path("/dev/zero").exists():
        refused("--config", "/dev/zero", match="more than 16384 bytes")


def test_a_value_in_a_file_cannot_pass_for_an_option():
    options, _ = parse_command(["--config", toml('[run]\ndata = "--overwrite"\n')])
    assert (options.data, options.overwrite) == ("--overwrite", False)


def test_a_resumed_run_has_its_own_options_and_folder():
    folder = stored_run(steps=5, seed=3, last_batch="keep")
    options, recipe = parse_command(["--resume", "--out", "run"])
    assert recipe == MLPMnist(hidden_g=(8, 9), lr_g=0.5)
    assert options == RunOptions(steps=5, seed=3, last_batch="keep", resume=True, out=folder.path)


def test_without_out_the_newest_run_is_resumed():
    folder = stored_run("runs")
    folder = stored_run("runs/x", seed=4)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-000000001.safetensors").write_bytes(b"x")
    options, _ = parse_command(["--resume"])
    assert (options.out, options.seed) == (Path("runs/x"), 4)


@pytest.mark.parametrize(
    ("before", "argv", "after"),
    [
        ({"steps": 5}, ["--steps", "9"], {"steps": 9, "epochs": None}),
        ({"steps": 5}, ["--epochs", "9"], {"steps": None, "epochs": 9}),
        ({"epochs": 5}, ["--steps=9"], {"steps": 9, "epochs": None}),
        ({"epochs": 5}, [], {"steps": None, "epochs": 5}),
        ({}, ["--checkpoint-every", "7"], {"checkpoint_every": 7}),
        ({}, ["--keep-every", "7"], {"keep_every": 7}),
        ({}, ["--evaluate-every", "7"], {"evaluate_every": 7}),
        ({"image_memory": 0.5}, [], {"image_memory": 0.5}),
        ({"image_memory": 0.5}, ["--image-memory", "2"], {"image_memory": 2.0}),
        ({}, ["--device", "cpu"], {"device": "cpu"}),
        ({"seed": 3}, ["--seed", "3"], {"seed": 3}),
    ],
)
def test_a_resumed_run_may_be_longer(before, argv, after):
    stored_run(**before)
    options, _ = parse_command(["--resume", "--out", "run", *argv])
    assert {name: getattr(options, name) for name in after} == after


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["--seed", "1"], "started with --seed 0: it cannot be resumed with 1"),
        (["--precision", "float64"], "started with --precision float32"),
        (["--last-batch", "keep"], "started with --last-batch drop"),
        (["--log-every", "3"], "started with --log-every"),
        (["--snapshot-every", "3"], "started with --snapshot-every"),
        (["--lr-g", "0.1"], r"started with --lr-g 0\.5: it cannot be resumed with 0\.1"),
        (["--hidden-g", "8"], r"started with --hidden-g \(8, 9\)"),
        (["--steps", "5", "--epochs", "5"], "give one of them"),
    ],
)
def test_a_resumed_run_keeps_its_constants(argv, match):
    stored_run()
    refused("--resume", "--out", "run", *argv, match=match)


def test_all_stored_options_but_the_free_ones_are_guarded():
    assert set(FREE_ON_RESUME) == {
        "data", "steps", "epochs", "threads", "kernels", "tf32", "image_memory", "evaluate_every", "checkpoint_every",
        "keep_every", "tensorboard",
    }  # fmt: skip
    assert set(STORED) | {"device", "out", *CALL_ONLY} == {field.name for field in dataclasses.fields(RunOptions)}


def test_a_run_of_another_recipe_is_not_resumed():
    stored_run()
    refused("mlp-2014", "--resume", "--out", "run", match="run holds a run of mlp-mnist, not of mlp-2014")


def test_help_prints_and_leaves(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_command(["mlp-2014", "--help"])
    assert not caught.value.code
    shown = capsys.readouterr()
    for part in ("--momentum-end", "momentum from epoch", "--checkpoint-every", "mlp-mnist", "Goodfellow"):
        assert part in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    "recipe", [DCGAN64(fresh_fakes=True), DCGAN64(flip=True), DCGAN28(first_norm=False), DCGAN28()]
)
def test_switches_survive_in_the_file_of_a_run(recipe):
    folder = RunFolder(Path("run"))
    folder.open()
    write_config(folder, RunOptions(), recipe)
    assert read_run_config(folder.config) == (RunOptions(), recipe)


@pytest.mark.parametrize(
    ("before", "again"), [(["--flip"], ["--flip"]), ([], ["--no-flip"]), (["--flip", "--tf32"], ["--tf32", "--flip"])]
)
def test_a_switch_may_say_what_is_so_already(before, again):
    started = parse_command(["dcgan-64", *before])
    folder = RunFolder(Path("run"))
    folder.open()
    write_config(folder, *started)
    resumed = parse_command(["dcgan-64", "--resume", "--out", "run", *again])
    assert (resumed[1], resumed[0].tf32) == (started[1], started[0].tf32)
    assert parse_command(["--config", "run/config.toml", *again]) == (
        dataclasses.replace(started[0], config=Path("run/config.toml")), started[1],
    )  # fmt: skip


@pytest.mark.parametrize("argv", [["--flip", "--no-flip"], ["--no-flip", "--flip"], ["--no-debug"]])
def test_switches_that_contradict_each_other_or_say_nothing_are_refused(argv):
    refused("dcgan-64", *argv, match="--")
    started = parse_command(["dcgan-64", "--flip"])
    folder = RunFolder(Path("run"))
    folder.open()
    write_config(folder, *started)
    if len(argv) == 2:
        refused("--resume", "--out", "run", *argv, match="--")


def test_the_folder_of_the_images_is_stored_in_full(tmp_path, monkeypatch):
    options, recipe = parse_command(["--data", "folder:photos"])
    full = f"folder:{Path.cwd() / 'photos'}"
    folder = RunFolder(tmp_path / "run")
    folder.open()
    write_config(folder, options, recipe)
    monkeypatch.chdir("/")
    assert parse_command(["--resume", "--out", str(folder.path)])[0].data == full
    monkeypatch.chdir(tmp_path)
    assert parse_command(["--resume", "--out", "run", "--data", "folder:photos"])[0].data == "folder:photos"


def test_a_switch_can_be_turned_off_on_the_command_line():
    assert not parse_command(["dcgan-28", "--no-first-norm"])[1].first_norm
    assert parse_command(["dcgan-64", "--fresh-fakes"])[1].fresh_fakes
