"""``python -m minigan.export`` as a person starts it: what it writes, and one line for what it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from minigan.backend import CPU
from minigan.interchange.torch_layout import load_into, read_tensors
from minigan.runs.saved import load_run
from tests.commands import run
from tests.interchange import torch_twin
from tests.interchange.networks import first

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
SMALL = {
    "mlp-mnist": ("--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--steps", "20"),
    "dcgan-64": ("--width", "2", "--latent", "5", "--batch-size", "4", "--steps", "2"),
}


def export(cwd, *arguments):
    """Export, and expect that it works; returns what it prints."""
    done = run(cwd, "minigan.export", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a short run of each recipe of SMALL, named after it."""
    cwd = tmp_path_factory.mktemp("runs")
    for recipe, options in SMALL.items():
        done = run(cwd, "minigan.train", recipe, *options, "--device", "cpu", "--out", recipe)
        assert done.returncode == 0, done.stderr
    return cwd


def metadata(file):
    with safe_open(file, "np") as opened:
        return opened.metadata()


def test_the_generator_is_written_with_its_averaged_parameters(runs):
    printed = export(runs, "mlp-mnist")
    assert printed == (
        "generator of mlp-mnist, step 20: mlp-mnist/generator.safetensors\n"
        "input (N, 3), output (N, 1, 28, 28); pixels in [-1, 1]\n"
    )
    state = load_run(runs / "mlp-mnist", CPU).state
    assert state.average is not None
    read = state.g.theta.copy()
    load_into(state.g.net, read, read_tensors(runs / "mlp-mnist" / "generator.safetensors"), image_out=(28, 28, 1))
    assert read.flat.tobytes() == state.average.flat.tobytes() != state.g.theta.flat.tobytes()


@pytest.mark.parametrize("recipe", SMALL)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_file_alone_is_enough_for_pytorch(runs, tmp_path, recipe, network):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    file = tmp_path / "out"
    export(runs, recipe, "--network", network, "--out", file)
    facts = metadata(file)
    assert (facts["format"], facts["recipe"], facts["network"]) == ("pt", recipe, network)
    layers = [(layer["name"], layer["kind"], layer["arguments"]) for layer in json.loads(facts["layers"])]
    saved = load_run(runs / recipe, CPU)
    net, theta = saved.state.g.net, saved.state.drawing
    if network == "discriminator":
        net, theta = saved.state.d.net, saved.state.d.theta
    x = np.random.default_rng(0).normal(size=(3, *theta.in_shape)).astype(np.float32)
    ours, _ = net.forward(theta, x, train=False)
    if network == "generator":
        ours = first(ours.reshape(3, *saved.image_shape))
    made = torch_twin.run(torch, torch_twin.build(layers), read_tensors(file), first(x))
    np.testing.assert_allclose(made, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("network", "file"), [("generator", "netG"), ("discriminator", "netD")])
def test_a_dcgan_is_written_under_the_names_of_pytorch_s_examples(runs, network, file):
    export(runs, "dcgan-64", "--names", "examples", "--network", network)
    written = runs / "dcgan-64" / f"{file}.safetensors"
    assert {name.split(".")[0] for name in read_tensors(written)} == {"main"}
    expected = {"generator": "(N, 5, 1, 1)", "discriminator": "(N, 1, 64, 64)"}
    assert metadata(written)["input"] == expected[network]


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_onnx_is_written_and_runs(runs, network):
    pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed: pip install '.[export]'")
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    printed = export(runs, "mlp-mnist", "--format", "onnx", "--network", network)
    assert f"mlp-mnist/{network}.onnx\n" in printed
    model = runtime.InferenceSession(runs / "mlp-mnist" / f"{network}.onnx", providers=["CPUExecutionProvider"])
    (given,), (made,) = model.get_inputs(), model.get_outputs()
    z, images, logits = ("z", ["N", 3]), ("images", ["N", 1, 28, 28]), ("logits", ["N", 1])
    ends = {"generator": (z, images), "discriminator": (images, logits)}
    assert ((given.name, given.shape), (made.name, made.shape)) == ends[network]
    assert model.get_modelmeta().custom_metadata_map["step"] == "20"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nothing"], 2, "nothing holds no run of minigan"),
        ([], 2, "folder of the run (required)"),
        (["mlp-mnist", "--format", "pickle"], 2, "pickle"),
        (["mlp-mnist", "--network", "critic"], 2, "critic"),
        (["mlp-mnist", "--names", "examples"], 2, "for runs of dcgan-64, and mlp-mnist is one of mlp-mnist"),
        (["dcgan-64", "--names", "examples", "--format", "onnx"], 2, "--names examples is for safetensors"),
        (["mlp-mnist", "--out", "."], 1, "not a regular file"),
        (["mlp-mnist", "--out", "no/such/folder.pt2"], 1, "No such file or directory: no/such/folder.pt2"),
        (["mlp-mnist", "--out", "g.onnx"], 2, "--out g.onnx: the file is safetensors, give it another ending"),
        (["mlp-mnist", "--format", "onnx", "--out", "g.safetensors"], 2, "the file is onnx, give it another ending"),
        (["mlp-mnist", "--out", "mlp-mnist/checkpoints/step-000000999.safetensors"], 2, "is a file of the run"),
        (["mlp-mnist", "--out", "mlp-mnist/.lock"], 2, "is a file of the run"),
        (["mlp-mnist", "--out", "mlp-mnist/config.toml/x"], 1, "Not a directory: mlp-mnist/config.toml/x"),
    ],
)
def test_bad_input_gives_one_line_that_names_it(runs, arguments, code, part):
    done = run(runs, "minigan.export", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("minigan: error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr


def test_without_onnx_it_says_what_to_install(runs, tmp_path):
    (tmp_path / "onnx.py").write_text("raise ImportError('not here')")
    environment = ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "minigan.export", "mlp-mnist", "--format", "onnx", "--out", str(tmp_path / "out")],
        cwd=runs, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "minigan: error: the format onnx needs the package onnx: pip install '.[export]'\n"
    assert not (tmp_path / "out").exists()


def test_help_is_quick_because_it_imports_no_heavy_library(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "minigan.export", "--help"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "usage: " in done.stdout
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "minigan" in imported
    assert not imported & {"numpy", "matplotlib", "scipy", "cupy", "PIL", "safetensors", "onnx"}
