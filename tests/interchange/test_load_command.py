"""``python -m minigan.load`` as a person starts it: networks of PyTorch become runs that draw the same images."""

import errno
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from minigan.backend import CPU
from minigan.interchange.torch_layout import read_facts, read_tensors, state_dict, twin
from minigan.recipes import CDCGAN28, DCGAN28, DCGAN64, DCGAN256, WGANGP28, DCGANUpsample, Recipe
from minigan.recipes.measured import MEASURABLE, measured
from minigan.runs import checkpoint
from minigan.runs.saved import load_run
from minigan.runs.state import State
from tests.commands import run
from tests.interchange.networks import first

GOLDEN = Path(__file__).parents[1] / "golden"
NET_G, NET_D = GOLDEN / "netG.pth", GOLDEN / "netD.pth"


def load(cwd, *arguments):
    """Load, and expect that it works; returns what it prints."""
    done = run(cwd, "minigan.load", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(done, code, *parts):
    assert done.returncode == code
    assert done.stderr.startswith("minigan: error: ")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts), done.stderr


def train(cwd, out, *arguments):
    return run(cwd, "minigan.train", "--out", out, "--device", "cpu", *arguments)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A folder with the run `g`, loaded from netG.pth, and `both`, from netG.pth and netD.pth."""
    cwd = tmp_path_factory.mktemp("loaded")
    (cwd / "images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(cwd / "images" / f"{number}.png")
    load(cwd, NET_G, "--out", "g")
    load(cwd, NET_G, "--discriminator", NET_D, "--data", f"folder:{cwd / 'images'}", "--out", "both")
    return cwd


def test_a_generator_of_pytorch_s_examples_draws_the_same_image(loaded):
    golden, saved = np.load(GOLDEN / "examples.npz"), load_run(loaded / "g", CPU)
    assert (saved.recipe, saved.image_shape) == (DCGAN64(latent=5, width=2), (64, 64, 3))
    image, _ = saved.state.g.net.forward(saved.state.drawing, golden["z"].reshape(1, 5), train=False)
    np.testing.assert_allclose(first(image), golden["image"], rtol=0, atol=1e-5)
    assert golden["image"].std() > 0.05  # there is something to compare


def test_its_discriminator_gives_the_same_logit(loaded):
    golden, saved = np.load(GOLDEN / "examples.npz"), load_run(loaded / "both", CPU)
    image = np.moveaxis(golden["image"], 1, -1)
    logit, _ = saved.state.d.net.forward(saved.state.d.theta, image, train=False)
    np.testing.assert_allclose(logit, golden["logit"].reshape(1, 1), rtol=0, atol=1e-5)
    assert abs(golden["logit"]) > 0.01


def test_it_says_what_it_found_and_what_to_do_next(tmp_path):
    assert load(tmp_path, NET_G, "--out", "a run").splitlines() == [
        "dcgan-64, latents of 5 numbers, images 64 x 64 x 3",
        "run folder: a run",
        "draw samples with: python -m minigan.sample 'a run'",
        "without its discriminator (--discriminator FILE) it cannot be trained further",
    ]
    printed = load(tmp_path, NET_G, "--discriminator", NET_D)
    assert printed.splitlines()[-1] == (
        "to train it further, load it once more with --data that gives images of 64 x 64 x 3"
    )


def test_images_of_five_colours_are_no_pictures(tmp_path):
    recipe = DCGAN64(latent=5, width=2)
    state = State.start(recipe, np.zeros((1, 64, 64, 5), np.uint8), 1, 0, np.dtype("float32"), CPU)
    save_file(state_dict(twin(state.g.net, (5,), image_out=(64, 64, 5)), state.g.theta), tmp_path / "five.safetensors")
    done = run(tmp_path, "minigan.load", "five.safetensors", "--recipe", "dcgan-64", "--out", "b")
    refused(done, 1, "five.safetensors: makes images of 5 colours; pictures have 1 (grey) or 3")


def test_it_says_how_to_train_it_further(loaded):
    printed = load(loaded, NET_G, "--discriminator", NET_D, "--data", "folder:images", "--out=-odd")
    resume = "python -m minigan.train --resume --out ./-odd --steps 25000"
    assert printed.splitlines()[-2:] == [
        "draw samples with: python -m minigan.sample ./-odd",
        f"train it further, on folder:images, with: {resume}",
    ]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        ("mnits", 2, "unknown data source 'mnits'"),
        ("folder:nowhere", 1, "nowhere"),
        ("folder:grey", 2, "--data folder:grey gives images of 64 x 64 x 1, the networks make images of 64 x 64 x 3"),
    ],
)
def test_images_that_it_cannot_learn_from_are_refused_before_anything_is_written(tmp_path, data, code, words):
    (tmp_path / "grey").mkdir()
    Image.new("L", (64, 64)).save(tmp_path / "grey" / "black.png")
    refused(run(tmp_path, "minigan.load", NET_G, "--discriminator", NET_D, "--data", data, "--out", "b"), code, words)
    if code == 1:
        refused(run(tmp_path, "minigan.load", NET_G, "--data", data, "--out", "b"), code, words)
    assert [path.name for path in tmp_path.iterdir()] == ["grey"]


def test_a_loaded_run_draws_samples(loaded):
    done = run(loaded, "minigan.sample", "g", "--count", "4", "--device", "cpu")
    assert (done.returncode, done.stdout) == (0, "4 samples of dcgan-64, step 0: g/more-samples-0.png\n")


def test_without_a_discriminator_it_is_neither_trained_nor_exported(loaded):
    refused(train(loaded, "g", "--resume", "--steps", "2"), 1,
            "g was loaded without a discriminator and cannot be trained further", "--discriminator FILE")  # fmt: skip
    done = run(loaded, "minigan.export", "g", "--network", "discriminator")
    refused(done, 2, "g was loaded without a discriminator: there is none to export")


def test_with_both_networks_it_is_trained_further_from_their_numbers(loaded):
    before = load_run(loaded / "both", CPU).state
    done = train(loaded, "both", "--resume", "--steps", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bit for bit" not in done.stdout  # nothing has been computed before
    after = load_run(loaded / "both", CPU).state
    assert (after.step, after.g.updates, after.d.updates) == (2, 2, 2)
    for role in ("g", "d"):
        then, now = getattr(before, role).theta, getattr(after, role).theta
        assert 0 < abs(now.trainable - then.trainable).max() <= 2 * 1.5 * 2e-4  # two steps of Adam, and no more
    done = train(loaded, "both", "--resume", "--steps", "3")  # a run like any other from now on
    assert (done.returncode, done.stderr) == (0, "")


def test_other_data_are_refused_when_it_is_trained(tmp_path):
    load(tmp_path, NET_G, "--discriminator", NET_D, "--out", "b")
    done = train(tmp_path, "b", "--resume", "--steps", "2")
    assert done.returncode == 1
    assert "image_shape is [64, 64, 3], this run's is [64, 64, 1]" in done.stderr


def test_a_run_is_only_replaced_if_one_says_so(tmp_path):
    load(tmp_path, NET_G, "--out", "a")
    refused(run(tmp_path, "minigan.load", NET_G, "--out", "a"), 2, "a holds a run", "--overwrite")
    load(tmp_path, NET_G, "--out", "a", "--overwrite")


@pytest.mark.parametrize("recipe", ["mlp-mnist", "dcgan-28"])
def test_what_minigan_has_exported_comes_back_to_the_bit(tmp_path, recipe):
    small = {
        "mlp-mnist": ("--hidden-g", "8", "6", "--hidden-d", "8", "--latent", "3", "--average", "0.5"),
        "dcgan-28": ("--width", "2", "--width-d", "3", "--units", "8", "--latent", "4", "--no-first-norm"),
    }
    done = run(tmp_path, "minigan.train", recipe, *small[recipe], "--batch-size", "4", "--steps", "2", "--out", "a")
    assert done.returncode == 0
    for network in ("generator", "discriminator"):
        assert run(tmp_path, "minigan.export", "a", "--network", network).returncode == 0
    load(tmp_path, "a/generator.safetensors", "--discriminator", "a/discriminator.safetensors", "--out", "b")
    before, after = load_run(tmp_path / "a", CPU), load_run(tmp_path / "b", CPU)
    assert after.recipe == before.recipe
    assert after.image_shape == before.image_shape
    assert after.state.drawing.flat.tobytes() == before.state.drawing.flat.tobytes()
    assert after.state.d.theta.flat.tobytes() == before.state.d.theta.flat.tobytes()
    done = train(tmp_path, "b", "--resume", "--steps", "2")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_constants_of_other_files_are_told_by_their_weights(tmp_path):
    """The same without the metadata: PyTorch's names 0, 1, 2, ... and a recipe by name."""
    done = run(tmp_path, "minigan.train", "dcgan-28", "--width", "3", "--units", "6", "--latent", "4",
               "--batch-size", "4", "--steps", "1", "--out", "a")  # fmt: skip
    assert done.returncode == 0
    assert run(tmp_path, "minigan.export", "a").returncode == 0
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(tmp_path / "a" / "generator.safetensors"), bare)
    refused(run(tmp_path, "minigan.load", bare, "--out", "b"), 2, "bare.safetensors does not tell", "--recipe, one of")
    load(tmp_path, bare, "--recipe", "dcgan-28", "--out", "b")
    assert load_run(tmp_path / "b", CPU).recipe == DCGAN28(width=3, units=6, latent=4)


CONSTANTS = {
    "dcgan-28": DCGAN28(latent=7, width=4, width_d=3, units=16, first_norm=False),
    "dcgan-64": DCGAN64(latent=7, width=2),
    "dcgan-upsample": DCGANUpsample(latent=7, width=4, width_d=2),
    "dcgan-upsample, transposed": DCGANUpsample(latent=7, width=4, width_d=2, enlarge="transposed"),
    "dcgan-256": DCGAN256(latent=7, width=1),
    "dcgan-64, another size": DCGAN64(latent=7, width=2, size=(48, 96)),
    "dcgan-256, another size": DCGAN256(latent=7, width=1, size=(64, 192)),
    "dcgan-upsample, another size": DCGANUpsample(latent=7, width=4, width_d=2, size=(36, 36)),
    "wgan-gp-28": WGANGP28(latent=7, width=2),
    "cdcgan-28": CDCGAN28(latent=7, classes=4, width=2, units=6),
}


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_weights_tell_every_constant_that_shapes_depend_on(name, channels):
    from minigan.interchange.torch_layout import state_dict, twin
    from minigan.nn import init_params

    recipe: Recipe = CONSTANTS[name]
    shape = (*recipe.image_size, channels)
    blank, shapes = np.zeros((1, *shape), np.uint8), []
    ends = recipe.latent_shape, recipe.judged_shape(shape)
    for net, in_shape in zip((recipe.generator(blank), recipe.discriminator(blank)), ends, strict=True):
        tensors = state_dict(twin(net, in_shape), init_params(net, in_shape, np.random.default_rng(0)))
        shapes.append({key: tensor.shape for key, tensor in tensors.items()})
    constants, found = measured(recipe.name, *shapes)
    assert (type(recipe)(**constants), found) == (recipe, channels)


def test_every_recipe_of_images_of_one_size_is_measured():
    assert {recipe.name for recipe in CONSTANTS.values()} == set(MEASURABLE)


def with_metadata(path, **facts):
    """netG.pth as safetensors, with facts."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in read_tensors(NET_G).items()}
    save_file(tensors, path, metadata={name: json.dumps(fact) for name, fact in facts.items()})
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["nothing.pth"], 1, ["cannot read nothing.pth: No such file"]),
        ([NET_D], 1, ["netD.pth as the generator of dcgan-64", "main.0.weight is (2, 3, 4, 4), not (2, 8, 4, 4)"]),
        (
            [NET_G, "--discriminator", NET_G],
            1,
            ["netG.pth as the discriminator of dcgan-64", "main.2.weight is missing"],
        ),
        ([NET_G, "--recipe", "dcgan-46"], 2, ["unknown recipe 'dcgan-46'; did you mean 'dcgan-64'?"]),
        ([NET_G, "--recipe", "mlp-mnist"], 2, ["weights alone do not tell the constants of mlp-mnist"]),
        ([NET_G, "--recipe", "dcgan-28"], 1, ["netG.pth as the generator of dcgan-28: the tensors are not of this"]),
        ([NET_G, "--recipe", "dcgan-256"], 1, ["netG.pth"]),
        ([GOLDEN / "examples.npz"], 1, ["examples.npz is no state dict of PyTorch"]),
        ([], 2, ["generator"]),
    ],
)
def test_bad_input_gives_one_line_and_leaves_no_folder(tmp_path, arguments, code, parts):
    refused(run(tmp_path, "minigan.load", *arguments, "--out", "new"), code, *parts)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("facts", "code", "part"),
    [
        ({"constants": {"width": 2, "latent": "many"}, "image_shape": [64, 64, 3]}, 2, "--latent"),
        ({"constants": {"widht": 2}, "image_shape": [64, 64, 3]}, 2, "no constant 'widht'; did you mean 'width'?"),
        ({"constants": [1], "image_shape": [64, 64, 3]}, 1, "constants cannot be read"),
        ({"constants": {"width": 2, "latent": 5}}, 1, "constants cannot be read"),
        ({"constants": {"width": 2, "latent": 5}, "image_shape": [64, 48, 3]}, 1, "images of 64 x 48 and of (64, 64)"),
        ({"constants": {"width": 2, "latent": 5}, "image_shape": [64, 64]}, 1, "constants cannot be read"),
        ({"constants": {"width": 2, "latent": 5}, "image_shape": [64, "x", 3]}, 1, "constants cannot be read"),
        ({"constants": {"width": 2, "latent": 6}, "image_shape": [64, 64, 3]}, 1, "(5, 16, 4, 4), not (6, 16, 4, 4)"),
    ],
)
def test_metadata_of_any_kind_are_refused_in_one_line(tmp_path, facts, code, part):
    file = with_metadata(tmp_path / "x.safetensors", **facts)
    tensors = read_tensors(file)
    save_file(tensors, file, metadata=read_facts(file) | {"recipe": "dcgan-64"})
    refused(run(tmp_path, "minigan.load", file, "--out", "new"), code, "x.safetensors", part)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    tensors = {name: tensor.astype(np.float64) for name, tensor in read_tensors(NET_G).items()}
    tensors["main.0.weight"] = tensors["main.0.weight"].copy()
    tensors["main.0.weight"].flat[3] = number
    save_file(tensors, tmp_path / "wrong.safetensors")
    refused(
        run(tmp_path, "minigan.load", "wrong.safetensors"),
        1,
        "main.0.weight holds numbers that are not finite in float32",
    )


def test_a_network_keeps_the_precision_that_minigan_wrote_it_in(tmp_path):
    small = ["--steps", "2", "--hidden-g", "8", "--hidden-d", "8", "--batch-size", "8", "--threads", "1"]
    for module, *arguments in (
        ("minigan.train", "mlp-mnist", *small, "--precision", "float64", "--out", "run"),
        ("minigan.export", "run", "--out", "g.safetensors"),
        ("minigan.load", "g.safetensors", "--out", "again"),
        *(("minigan.sample", name, "--count", "4", "--out", f"{name}.png") for name in ("run", "again")),
    ):  # fmt: skip
        done = run(tmp_path, module, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert 'precision = "float64"' in (tmp_path / "again" / "config.toml").read_text()
    assert (tmp_path / "run.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_constants_that_claim_far_more_than_the_file_holds_are_refused_before_there_is_memory(tmp_path):
    facts = {
        "recipe": "mlp-mnist", "constants": json.dumps({"hidden_g": [60000, 60000]}), "image_shape": "[28, 28, 1]",
    }  # fmt: skip
    save_file({"0.weight": np.zeros((2, 2), np.float32)}, tmp_path / "small.safetensors", metadata=facts)
    refused(run(tmp_path, "minigan.load", "small.safetensors"), 1, "ask for 36", "the files hold 4")


def test_an_older_run_is_there_until_the_new_one_is_written(tmp_path, monkeypatch):
    load(tmp_path, NET_G, "--out", "run")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "run").rglob("*") if path.is_file())
    write = checkpoint.write_atomically

    def full(path, *content):
        if path.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        done = run(tmp_path, "minigan.load", NET_G, "--out", "run", "--overwrite")
    refused(done, 1, "No space left on device")
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "run").rglob("*") if path.is_file()) == before
    load(tmp_path, NET_G, "--out", "run", "--overwrite")
    assert load_run(tmp_path / "run", CPU).state.step == 0


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second disk")
def test_a_run_whose_checkpoints_lie_on_another_disk_is_replaced(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        load(tmp_path, NET_G, "--out", "a")
        shutil.move(tmp_path / "a" / "checkpoints", Path(other, "checkpoints"))
        (tmp_path / "a" / "checkpoints").symlink_to(Path(other, "checkpoints"))
        load(tmp_path, NET_G, "--out", "a", "--overwrite")
        assert [path.name for path in Path(other, "checkpoints").iterdir()] == ["step-000000000.safetensors"]
