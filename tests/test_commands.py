"""The commands as a person starts them: exit codes, one line of error; signals and streams of real processes."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from minigan.runs.checkpoint import checkpoint_files, read_checkpoint, step_of
from tests.commands import error_of, run

ROOT = Path(__file__).resolve().parent.parent
# BLAS on one thread: another number of threads gives other bits.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
NARROW = ("--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--device", "cpu")
PLAIN = ("--kernels", "plain")  # in a process of its own: numba takes a while to load
SHORTEST = (*NARROW, *PLAIN, "--steps", "1")
TRAIN = "minigan.train"
IGNORED = not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
HANGUP = pytest.param(1, 129, marks=pytest.mark.skipif(IGNORED, reason="no terminal, or nohup"))
LONG = 1000  # steps; some seconds, long enough to be stopped on the way
RUN_FILES = {"config.toml", "metrics.csv", "vitals.jsonl", "samples.png", "progress.gif", "losses.png", "report.html"}


def command(name, *arguments):
    return [sys.executable, "-m", name, *map(str, arguments)]


def in_own_process(cwd, words):
    """A process that has to end well, without a word of complaint; returns what it prints."""
    done = subprocess.run(words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def train(cwd, *arguments):
    """Train, and expect that it works and complains about nothing."""
    done = run(cwd, TRAIN, *NARROW, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def start(cwd, *arguments):
    """Start training and wait until it has measured something; returns the process."""
    process = subprocess.Popen(
        command(TRAIN, *NARROW, *arguments, "--out", "run"), cwd=cwd, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(3000):
        metrics = cwd / "run" / "metrics.csv"
        if metrics.exists() and metrics.read_bytes().count(b"\n") > 10:
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    raise AssertionError("training did not begin")


def everything(path):
    """All that has to be equal to the bit."""
    newest = read_checkpoint(checkpoint_files(path / "checkpoints")[0])
    tensors = {name: (t.dtype, t.shape, t.tobytes()) for name, t in newest.tensors.items()}
    return (
        tensors,
        newest.facts,
        *((path / name).read_bytes() for name in ("metrics.csv", "progress.gif", "report.html")),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of 200 steps."""
    cwd = tmp_path_factory.mktemp("whole")
    printed = train(cwd, "--steps", 200, "--out", "run", "--snapshot-every", 100)
    return cwd / "run", printed


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A finished run of LONG steps with plain kernels, for comparison with stopped ones."""
    cwd = tmp_path_factory.mktemp("long")
    train(cwd, *PLAIN, "--steps", LONG, "--checkpoint-every", 50, "--out", "run")
    return everything(cwd / "run")


def test_training_leaves_a_folder_with_everything_to_look_at(whole):
    path, printed = whole
    assert {file.name for file in path.iterdir() if file.is_file() and file.name != ".lock"} == RUN_FILES
    assert [file.name for file in sorted((path / "samples").iterdir())] == [
        f"step-{step:09d}.png" for step in (0, 100, 200)
    ]
    assert [file.name for file in (path / "checkpoints").iterdir()] == ["step-000000200.safetensors"]
    for picture in ("samples.png", "losses.png", "progress.gif", "samples/step-000000200.png"):
        with Image.open(path / picture) as opened:
            opened.load()
    for part in ("5000 images, steps 0 to 200", "run folder: run", "step 200 after", "run/samples.png"):
        assert part in printed


def test_scores_along_the_way_are_announced_told_and_kept(tmp_path):
    printed = train(tmp_path, "--steps", 20, "--evaluate-every", 20, "--out", "run")
    assert "scores every 20 steps: 1000 samples against 1000 training images" in printed
    assert printed.count("\nstep 20: Parzen log-likelihood ") == 1
    header, row = (tmp_path / "run" / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert header.count(",") == row.count(",") == 9
    again = run(tmp_path, "minigan.train", "--resume", "--steps", 40, "--evaluate-every", 40, "--out", "run")
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "run" / "scores.csv").read_text(encoding="utf-8").splitlines()[1].startswith("40,")


def test_90_steps_and_110_more_give_the_same_bytes_as_200(whole, tmp_path):
    """The picture of the last one of the 90 is gone, too."""
    train(tmp_path, "--steps", 90, "--out", "run", "--snapshot-every", 100)
    assert everything(tmp_path / "run")[0] != everything(whole[0])[0]
    resumed = run(tmp_path, "minigan.train", "--resume", "--steps", 200, "--out", "run")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert everything(tmp_path / "run") == everything(whole[0])


@pytest.fixture(scope="module")
def long_and_fast(tmp_path_factory):
    """The same with fast kernels, in a process of its own, as those are that are stopped: loops differ in tests."""
    cwd = tmp_path_factory.mktemp("long_and_fast")
    in_own_process(cwd, command(TRAIN, *NARROW, "--steps", LONG, "--checkpoint-every", 50, "--out", "run"))
    return everything(cwd / "run")


def test_a_stopped_run_prints_a_command_that_goes_on_to_the_same_bytes(tmp_path, long_and_fast):
    in_own_process(tmp_path, [sys.executable, *stopped(tmp_path, signal.SIGINT, 130)])
    assert everything(tmp_path / "run") == long_and_fast


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), HANGUP])
def test_whatever_stops_it(tmp_path, long, number, code):
    _, module, *arguments = stopped(tmp_path, number, code, *PLAIN)
    resumed = run(tmp_path, module, *arguments)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert everything(tmp_path / "run") == long


def stopped(tmp_path, number, code, *arguments):
    """Stop a run by a signal; returns the words behind "python" of the command that it prints, to go on with."""
    process = start(tmp_path, *arguments, "--steps", LONG, "--checkpoint-every", 50)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, "")
    step, resume = re.search(r"^stopped at step (\d+); go on with: python (.+)$", printed, re.MULTILINE).groups()
    assert 0 < int(step) < LONG
    saved = checkpoint_files(tmp_path / "run" / "checkpoints")[0]
    assert read_checkpoint(saved).facts["step"] == int(step)
    return shlex.split(resume)


def test_a_run_that_has_played_more_rounds_than_asked_for_stays_as_it_is(tmp_path):
    train(tmp_path, "--steps", 20, "--out", "run")
    before = everything(tmp_path / "run"), (tmp_path / "run" / "config.toml").read_bytes()
    resumed = run(tmp_path, "minigan.train", "--resume", "--steps", 10, "--out", "run")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "the run is at step 20 already" in resumed.stdout
    assert (everything(tmp_path / "run"), (tmp_path / "run" / "config.toml").read_bytes()) == before


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, long):
    process = start(tmp_path, *PLAIN, "--steps", LONG, "--checkpoint-every", 50)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    resumed = run(tmp_path, TRAIN, "--resume", "--out", "run")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert everything(tmp_path / "run") == long


def test_a_second_run_in_one_folder_is_told_who_is_in_it(tmp_path):
    process = start(tmp_path, *PLAIN, "--steps", 10**6)
    try:
        done = run(tmp_path, TRAIN, *NARROW, "--out", "run", "--overwrite")
        assert (done.returncode, process.poll()) == (1, None)
        assert f"run is in use by process {process.pid}" in error_of(done)
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_sample_draws_the_same_samples_for_the_same_seed(whole, tmp_path):
    path = whole[0]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("--count", 6, "--columns", 3, "--seed", seed, "--out", f"{name}.png")
        done = run(tmp_path, "minigan.sample", path, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"6 samples of mlp-mnist, step 200: {name}.png\n"
    pictures = [(tmp_path / f"{name}.png").read_bytes() for name in "abc"]
    assert pictures[0] == pictures[1] != pictures[2]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (2 * (3 * 28 + 2 * 2), 2 * (2 * 28 + 2))


def test_a_dcgan_of_another_size_is_trained_resumed_and_drawn(tmp_path):
    narrow = ("--width", "1", "--latent", "3", "--batch-size", "2", "--device", "cpu", "--out", "run")
    done = run(tmp_path, "minigan.train", "dcgan-64", "--size", "16", "48", *narrow, "--steps", "1")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", "2", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, "minigan.sample", "run", "--count", "1", "--scale", "1", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "run" / "more-samples-0.png") as picture:
        assert picture.size[0] - 48 == picture.size[1] - 16  # the border


def test_both_kernels_train_alike_and_a_run_may_change_them(tmp_path):
    small = ("--size", 16, 16, "--width", 6, "--latent", 3, "--batch-size", 4, "--log-every", 1, "--device", "cpu")
    measured = {}
    for kernels in ("plain", "fast"):
        options = ("--kernels", kernels, "--threads", 2, "--steps", 3, "--out", kernels)
        done = run(tmp_path, "minigan.train", "dcgan-64", *small, *options)
        assert (done.returncode, done.stderr) == (0, "")
        lines = (tmp_path / kernels / "metrics.csv").read_text().splitlines()[1:]
        measured[kernels] = [float(number) for line in lines for number in line.split(",")]
    assert measured["fast"] == pytest.approx(measured["plain"], rel=1e-3)
    assert measured["fast"] != measured["plain"]
    done = run(tmp_path, "minigan.train", "--resume", "--out", "fast", "--kernels", "plain", "--steps", 4)
    assert (done.returncode, done.stderr) == (0, "")
    (note,) = re.findall(r"note: the run was made with .*", done.stdout)
    assert re.search(r"fast kernels \((numba|NumPy)\) x2, this is .* plain kernels: it goes on, but not bit", note)


def test_info_names_versions_blas_and_device(tmp_path):
    printed = in_own_process(tmp_path, command("minigan.info"))
    for part in ("minigan ", "Python ", "numpy ", "BLAS: ", "1 threads", "GPU: ", "--device auto takes: "):
        assert part in printed


def test_gradcheck_checks_one_layer(tmp_path):
    done = run(tmp_path, "minigan.gradcheck", "--layer", "maxout", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 gradients, 0 wrong" in done.stdout  # and those of its gradient


def test_the_dispatcher_runs_the_commands(tmp_path):
    done = run(tmp_path, "minigan", "train", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    named = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    dcgans = ["dcgan-28", "cdcgan-28", "dcgan-64", "dcgan-upsample", "dcgan-256"]
    assert named == ["mlp-mnist", "mlp-2014", "toolbox-mlp", *dcgans, "wgan-gp-28"]
    assert "a round of batch 64: 72.79 GMAC, 0.36 GB; 25000 rounds" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [((), 2, "usage: minigan COMMAND"), (("--version",), 0, "minigan "), (("--help",), 0, "gradcheck")],
)
def test_the_dispatcher_explains_itself(tmp_path, arguments, code, part):
    done = run(tmp_path, "minigan", *arguments)
    assert (done.returncode, done.stderr) == (code, "")
    assert part in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "minigan",
        "minigan.train",
        "minigan.sample",
        "minigan.evaluate",
        "minigan.load",
        "minigan.gradcheck",
        "minigan.info",
    ],
)
def test_help_is_quick_because_it_imports_no_heavy_library(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", name, "--help"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "usage: " in done.stdout
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "minigan" in imported
    assert not imported & {"matplotlib", "scipy", "cupy", "PIL", "numba"}


def broken_idx(cwd):
    (cwd / "broken").mkdir()
    (cwd / "broken" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"pixels")
    return cwd


def older_run(cwd):
    (cwd / "old").mkdir()
    (cwd / "old" / "config.toml").write_text('recipe = "mlp-mnist"\n')
    return cwd


def resumable_run(cwd):
    (older_run(cwd) / "old" / "checkpoints").mkdir()
    (cwd / "old" / "checkpoints" / "step-000000500.safetensors").write_bytes(b"")
    return cwd


def plain(cwd):
    (cwd / "file").write_text("x")
    return cwd


@pytest.mark.parametrize(
    ("prepare", "name", "arguments", "code", "part"),
    [
        (plain, TRAIN, ["--stpes", "5"], 2, "--steps"),
        (plain, TRAIN, ["--batch", "5"], 2, "Unrecognized options: --batch, 5"),
        (plain, TRAIN, ["--steps", "many"], 2, "--steps"),
        (plain, TRAIN, ["--kernels", "helper"], 2, "invalid choice 'helper' for argument '--kernels'. Expected one"),
        (plain, TRAIN, ["--helpme"], 2, "Unrecognized options: --helpme (python -m minigan.train --help"),
        (plain, TRAIN, ["--batch-size", "help"], 2, "--batch-size takes a whole number, got 'help' (python -m"),
        (plain, TRAIN, ["--config", "nothing.toml"], 2, "cannot read nothing.toml: No such file"),
        (plain, TRAIN, ["--lr-g", "0"], 2, "--lr-g 0.0 is out of range: allowed are 1e-09 to 10"),
        (plain, TRAIN, ["--seed", "-1"], 2, "--seed -1 is out of range: allowed are 0 to 4294967295"),
        (plain, TRAIN, ["dcgan-64", "--size", "50", "64"], 2, "multiples of 16; the nearest are 48 64, 64 64"),
        (plain, TRAIN, ["mlp-2015"], 2, "unknown recipe 'mlp-2015'; did you mean 'mlp-2014'"),
        (plain, TRAIN, ["--data", "mnits:x"], 2, "unknown data source 'mnits:x'; did you mean 'mnist'"),
        (plain, TRAIN, ["--data", "mnist:x"], 1, "no train-images-idx3-ubyte[.gz] in 'x'"),
        (broken_idx, TRAIN, ["--data", "mnist:broken"], 1, "broken/train-images-idx3-ubyte': the header claims"),
        (plain, TRAIN, ["--batch-size", "5001"], 1, "the largest batch allowed is 5000"),
        (plain, TRAIN, [*NARROW, "--batch-size", "1"], 2, "gives a batch of one image: layer batchnorm1"),
        (plain, TRAIN, ["--latent", "99999999999999"], 2, "allowed are 1 to 1e+06"),
        (resumable_run, TRAIN, ["--out", "old"], 2, "go on with it (--resume) or replace it (--overwrite)"),
        (older_run, TRAIN, ["--out", "old"], 2, "it has no checkpoint yet, so begin anew in its place (--overwrite)"),
        (older_run, TRAIN, ["--out", "old", "--resume"], 1, "no checkpoint in old/checkpoints"),
        (plain, TRAIN, ["--out", "file/run"], 1, "cannot write to file/run: Not a directory; choose another --out"),
        (plain, TRAIN, ["--out", "file"], 1, "cannot write to file"),
        (plain, "minigan.sample", [], 2, "folder of the run (required)"),
        (plain, "minigan.sample", ["nothing"], 2, "nothing holds no run of minigan"),
        (plain, "minigan.sample", ["file"], 2, "file holds no run of minigan"),
        (plain, "minigan.sample", ["file", "--count", "0"], 2, "--count 0 is out of range: allowed are 1 to 100000"),
        (plain, "minigan.info", ["--verbose"], 2, "--verbose"),
        (plain, "minigan.gradcheck", ["--layer", "dens1"], 2, "nothing is called 'dens1'"),
        (plain, "minigan", ["trian"], 2, "unknown command 'trian'; did you mean 'train'"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_line_that_names_it(tmp_path, prepare, name, arguments, code, part):
    done = run(prepare(tmp_path), name, *arguments)
    assert part in error_of(done)
    assert (done.returncode, done.stdout) == (code, "")


def test_asking_for_a_gpu_without_one_never_runs_on_the_cpu(tmp_path):
    done = run(tmp_path, TRAIN, "--device", "gpu:999", "--steps", "1", "--out", "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no GPU" in error_of(done)
    assert re.search(r"pip install 'cupy-cuda12x|the driver gave|this machine has", done.stderr)
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback_too(tmp_path):
    done = run(tmp_path, "minigan.sample", "nothing", "--debug")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("minigan: error: nothing holds no run")


@pytest.mark.parametrize("damage", ["empty", "flipped"])
def test_sample_falls_back_to_the_checkpoint_before_a_damaged_one(tmp_path, damage):
    train(tmp_path, "--steps", 2, "--checkpoint-every", 1, "--out", "run")
    newest = checkpoint_files(tmp_path / "run" / "checkpoints")[0]
    content = newest.read_bytes()
    newest.write_bytes(b"" if damage == "empty" else content[:-1] + bytes([content[-1] ^ 1]))
    done = run(tmp_path, "minigan.sample", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"note: run/checkpoints/step-000000002.*damaged", done.stdout)
    assert "step 1:" in done.stdout


@pytest.mark.parametrize("target", ["run", ".", "", "pipe"])
def test_sample_does_not_replace_what_is_no_file(whole, tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "run").mkdir()
    done = run(tmp_path, "minigan.sample", whole[0], "--out", target)
    assert done.returncode == 1
    assert "not a regular file" in error_of(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "run"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_run_does_not_replace_files_that_happen_to_have_its_names(tmp_path):
    (tmp_path / "metrics.csv").write_text("mine")
    done = run(tmp_path, TRAIN, *NARROW, "--steps", "1", "--out", ".")
    assert done.returncode == 2
    assert "--overwrite" in error_of(done)
    assert (tmp_path / "metrics.csv").read_text() == "mine"


def test_numbers_that_overflow_end_in_one_line(tmp_path):
    wild = ("--lr", "10", "--weights-g", "10", "--weights-d", "10", "--hidden-g", "8", "--hidden-d", "8")
    done = run(tmp_path, TRAIN, "mlp-2014", *wild, "--device", "cpu", "--steps", "400", "--out", "run")
    assert done.returncode == 1
    assert re.search(r"step \d+: the loss is not finite .*first not finite: (generator|discriminator)", error_of(done))
    assert "Samples over time" in (tmp_path / "run" / "report.html").read_text()  # how it came to this


def test_a_path_that_is_no_text_works_and_is_shown_escaped(tmp_path):
    name = os.fsdecode(b"r\xff n")
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        command(TRAIN, *SHORTEST, "--out", name), cwd=tmp_path, env=environment, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"run folder: r\\udcff n\n" in done.stdout
    assert (tmp_path / name / "samples.png").exists()


@pytest.mark.parametrize("name", ["minigan.train", "minigan.info"])
def test_a_closed_pipe_ends_a_command_quietly(tmp_path, name):
    reading, writing = os.pipe()
    os.close(reading)  # `| head` has gone
    arguments = SHORTEST if name == TRAIN else ()
    done = subprocess.run(
        command(name, *arguments), cwd=tmp_path, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_whose_output_nobody_reads_any_more_is_saved(tmp_path):
    """`python -m minigan.train | head` ends when it would speak next: after ten seconds at most, here of a score."""
    process = start(tmp_path, *PLAIN, "--steps", 10**6, "--checkpoint-every", 10**6, "--evaluate-every", 500)
    process.stdout.close()
    process.stdout = None  # communicate would read it
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 141
    (step, resume) = re.fullmatch(r"stopped at step (\d+); go on with: python (.+)\n", errors).groups()
    assert [step_of(path) for path in checkpoint_files(tmp_path / "run" / "checkpoints")] == [int(step)]
    assert (tmp_path / "run" / "samples.png").exists()
    in_own_process(tmp_path, [sys.executable, *shlex.split(resume)[:-1], str(int(step) + 1)])


def test_a_notebooks_backend_for_pictures_does_no_harm(tmp_path):
    environment = ENVIRONMENT | {"MPLBACKEND": "module://of_a_notebook"}
    words = command(TRAIN, *SHORTEST, "--out", "run")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "losses.png").exists()


def test_help_on_a_terminal_of_one_column(tmp_path):
    environment = ENVIRONMENT | {"COLUMNS": "1"}
    words = command(TRAIN, "--help")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_do_not_stop_a_run(tmp_path, closed):
    words = " ".join(map(shlex.quote, command(TRAIN, *SHORTEST, "--out", "run")))
    line = f"{words} {closed}"
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "run" / "samples.png").exists()


# What nobody reads, and what is not to be replaced ------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a short run in it."""
    cwd = tmp_path_factory.mktemp("finished")
    train(cwd, "--steps", "20", "--checkpoint-every", "10", "--keep-every", "8", "--out", "run")
    return cwd


def test_an_earlier_checkpoint_is_drawn_scored_and_exported(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    for words, line in [
        (("minigan.sample",), "100 samples of mlp-mnist, step 8: run/more-samples-step-8-0.png\n"),
        (("minigan.evaluate", "--samples", "20", "--metric", "frechet"), "mlp-mnist, step 8: 20 samples"),
        (("minigan.export",), "generator of mlp-mnist, step 8: run/generator-step-8.safetensors\n"),
    ]:
        done = run(tmp_path, words[0], "run", "--step", "8", *words[1:])
        assert (done.returncode, done.stderr) == (0, "")
        assert line in done.stdout
        done = run(tmp_path, words[0], "run", "--step", "7", *words[1:])
        assert (done.returncode, done.stdout) == (2, "")
        assert error_of(done).endswith("there is no checkpoint of step 7 in run/checkpoints, but of 8, 10, 16, 20\n")
    assert json.loads((tmp_path / "run" / "evaluation-step-8.json").read_text())["step"] == 8


def test_scores_of_an_earlier_checkpoint_replace_none_of_the_newest(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    scored = "minigan.evaluate", "run", "--samples", "20", "--metric", "copies"
    assert run(tmp_path, *scored).returncode == 0
    files = [tmp_path / "run" / name for name in ("evaluation.json", "neighbours.png", "report.html")]
    before = [file.read_bytes() for file in files]
    done = run(tmp_path, *scored, "--step", "8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run's page" not in done.stdout
    assert [file.read_bytes() for file in files] == before
    assert (tmp_path / "run" / "neighbours-step-8.png").exists()
    done = run(tmp_path, "minigan.evaluate", "run", "--diagnose", "--step", "8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--diagnose looks at what the whole run has recorded: leave --step out" in error_of(done)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (("minigan.evaluate", "run", "--samples", "20", "--metric", "frechet"), "run/evaluation.json"),
        (("minigan.toy", "ring", "--steps", "3", "--frames", "2", "--out", "toy"), "toy/progress.gif"),
        (("minigan.gradcheck", "--layer", "dense", "--plot", "plot.png"), "plot.png"),
        (("minigan", "evaluate", "train", "--samples", "20", "--metric", "frechet"), "train/evaluation.json"),
    ],
)
def test_a_command_does_its_work_also_where_nobody_reads_what_it_says(words, made, finished, tmp_path):
    for name in ("run", "train"):
        shutil.copytree(finished / "run", tmp_path / name)
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, "")
    assert (tmp_path / made).exists()


@pytest.mark.parametrize(
    "words",
    [
        ("minigan.report", "run", "--out", "run/config.toml"),
        ("minigan.report", "run", "--out", "run/metrics.csv"),
        ("minigan.export", "run", "--out", "run/checkpoints/step-000000020.safetensors"),
        ("minigan.export", "run", "--out", "other/config.toml"),
        ("minigan.sample", "run", "--out", "other/samples/step-000000000.png"),
        ("minigan.gradcheck", "--layer", "relu", "--plot", "run/losses.png"),
    ],
)
def test_no_command_replaces_a_file_of_a_run(words, finished, tmp_path):
    for name in ("run", "other"):
        shutil.copytree(finished / "run", tmp_path / name)
    before = everything(tmp_path / "run"), (tmp_path / words[-1]).read_bytes()
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert "is a file of the run in" in error_of(done)
    assert before == (everything(tmp_path / "run"), (tmp_path / words[-1]).read_bytes())


@pytest.mark.parametrize("absolute", [True, False])
def test_a_report_may_be_written_where_it_is_anyway(absolute, finished):
    out = Path("run/report.html")
    done = run(finished, "minigan.report", "run", "--out", finished / out if absolute else out)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_animation_of_too_many_pixels_is_refused(finished):
    done = run(finished, "minigan.sample", "run", "--walk", "50", "--between", "100", "--scale", "64")
    assert done.returncode == 2
    assert "5000 pictures of 1792 x 1792 pixels make too large an animation" in error_of(done)


def test_a_picture_of_too_many_pixels_is_refused_before_anything_is_drawn(finished):
    done = run(finished, "minigan.sample", "run", "--count", "100000", "--scale", "3")
    assert done.returncode == 2
    assert "a picture of 28524 x 28434 pixels is too large" in error_of(done)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--walk", "3", "--columns", "2"], "--columns is for a picture of samples"),
        (["--arithmetic", "1", "2", "3", "--columns", "2"], "--columns is for a picture of samples"),
        (["--between", "3"], "--between is about --walk: give both"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(finished, words, told):
    done = run(finished, "minigan.sample", "run", *words)
    assert done.returncode == 2
    assert told in error_of(done)


def test_a_walk_needs_two_samples(finished):
    done = run(finished, "minigan.sample", "run", "--walk", "2", "--count", "1")
    assert done.returncode == 2
    assert "--walk needs two samples at least" in error_of(done)


def test_a_config_that_claims_huge_networks_takes_no_memory(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    text = config.read_text()
    assert re.search(r"hidden_g = \[\s*8,?\s*\]", text)
    config.write_text(re.sub(r"hidden_g = \[\s*8,?\s*\]", "hidden_g = [ 60000, 60000 ]", text))
    done = run(tmp_path, "minigan.sample", "run")  # else 14 GB
    assert done.returncode == 1
    assert "the checkpoint is of another network" in error_of(done)


def test_a_users_own_settings_for_pictures_are_left_alone(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "matplotlibrc").write_text("text.usetex: True\n")  # which needs LaTeX
    environment = ENVIRONMENT | {"MPLCONFIGDIR": str(tmp_path / "own")}
    words = command("minigan.toy", "gaussian-1d", "--steps", "3", "--frames", "0", "--out", "toy")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "toy" / "stages.png").exists()


def test_a_message_is_not_as_long_as_what_it_is_about(tmp_path):
    done = run(tmp_path, TRAIN, "--config", "x" * 200 + "/" + "y" * 5000)
    assert done.returncode == 2
    assert len(error_of(done)) < 2100
