"""A network under PyTorch's names and layouts: the same images there, and the same numbers back."""

from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import save_file

from minigan import nn
from minigan.errors import DataError
from minigan.interchange import torch_layout
from minigan.interchange.steps import Untranslatable
from minigan.interchange.torch_layout import example_twin, load_into, read_tensors, state_dict, twin
from tests.interchange import torch_twin
from tests.interchange.networks import LAYERS, NETWORKS, ONLY_ONNX, Case, first

ALL = NETWORKS | LAYERS
every_network = pytest.mark.parametrize("case", ALL.values(), ids=ALL)
every_recipe = pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
DCGAN = NETWORKS["dcgan-64 generator"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def tensors_of(case: Case, theta: nn.Params) -> dict[str, np.ndarray]:
    return state_dict(twin(case.net, case.in_shape, **case.images), theta)


def zeros(case: Case) -> nn.Params:
    theta = case.theta()
    theta.flat[:] = 0
    return theta


def given(case: Case, x: np.ndarray) -> np.ndarray:
    """Inputs as PyTorch has them: channels first, also those images that the network takes flat."""
    if len(case.in_shape) == 1 and "image_in" in case.images:
        return first(x.reshape(len(x), *case.images["image_in"])).reshape(len(x), -1)
    return first(x)


@every_network
def test_pytorch_makes_the_same_of_the_same_inputs(case, torch):
    theta, x = case.theta(), case.x()
    listed = twin(case.net, case.in_shape, **case.images).modules
    theirs = torch_twin.build([(name, kind, arguments) for name, (kind, arguments) in listed.items()])
    ours, made = case.output(theta, x), torch_twin.run(torch, theirs, tensors_of(case, theta), given(case, x))
    assert made.shape == ours.shape
    assert ours.std() > 0.005  # there is something to compare
    np.testing.assert_allclose(made, ours, rtol=0, atol=1e-5)


PERMUTED = [name for name in NETWORKS if name.startswith(("mlp", "dcgan-28", "dcgan-upsample", "wgan"))]


@pytest.mark.parametrize("name", PERMUTED)
def test_the_order_of_the_dense_layers_matters(name, torch, monkeypatch):
    """Where an image is flat, weights that are only transposed make something else: the test above would notice."""
    case = NETWORKS[name]
    theta, x = case.theta(), case.x()
    listed = twin(case.net, case.in_shape, **case.images).modules
    theirs = torch_twin.build([(name, kind, arguments) for name, (kind, arguments) in listed.items()])
    monkeypatch.setattr(torch_layout, "permutation", lambda order: np.arange(order[0] * order[1] + order[2]))
    made = torch_twin.run(torch, theirs, tensors_of(case, theta), given(case, x))
    assert abs(made - case.output(theta, x)).max() > 1e-3


@every_network
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_there_and_back_changes_no_bit(case, dtype):
    theta, back = case.theta(dtype), case.theta(dtype)
    back.flat[:] = 0
    before = back.version
    load_into(case.net, back, tensors_of(case, theta), **case.images)
    assert back.flat.tobytes() == theta.flat.tobytes()
    assert back.version > before or not len(back)


@every_recipe
def test_a_number_names_minigan_s_layer(case):
    for number, (kind, _) in twin(case.net, case.in_shape, **case.images).modules.items():
        if kind == "ConstantPad2d":
            continue  # the border of an asymmetric padding, which goes with the layer of the same number
        layers = [case.net]
        for index in number.split("."):  # 2.0 is the first layer of the third, a network within
            if isinstance(layers[0], nn.Sequential):
                layers = layers[0].layers[int(index) :][:1] or [None]
        ours = [type(layer).__name__ for layer in layers if layer]
        same = {"Linear": "Dense", "Conv2d": "Conv2D", "ConvTranspose2d": "ConvTranspose2D", "MaxPool1d": "Maxout"}
        same |= {"BatchNorm1d": "BatchNorm", "BatchNorm2d": "BatchNorm", "Unflatten": "Reshape", "Dropout2d": "Dropout"}
        assert ours == [same.get(kind, kind)] or (kind, ours) == ("Unflatten", [])


def test_names_and_shapes_are_those_of_pytorch():
    shapes = {name: tensor.shape for name, tensor in tensors_of(DCGAN, DCGAN.theta()).items()}
    assert list(shapes)[:4] == ["1.weight", "2.bias", "2.num_batches_tracked", "2.running_mean"]
    assert shapes["1.weight"] == (5, 16, 4, 4)  # (I, O, kh, kw)
    assert shapes["13.weight"] == (2, 3, 4, 4)
    discriminator = NETWORKS["dcgan-28 discriminator"]
    shapes = {name: tensor.shape for name, tensor in tensors_of(discriminator, discriminator.theta()).items()}
    assert shapes["3.weight"] == (3, 1, 5, 5)  # (O, I, kh, kw)
    assert shapes["7.weight"] == (16, 4 * 4 * 3)  # (O, I)


def test_a_dense_layer_before_an_image_has_its_outputs_in_pytorch_s_order():
    """The pixel (h, w) of channel c is output c 7 7 + h 7 + w there, and (h 7 + w) 4 + c here."""
    case = NETWORKS["dcgan-28 generator"]
    theta = case.theta()
    weight = tensors_of(case, theta)["3.weight"]  # (4 7 7, 16)
    np.testing.assert_array_equal(weight[2 * 49 + 3 * 7 + 5], theta["dense2.w"][:, (3 * 7 + 5) * 4 + 2])


@pytest.mark.parametrize(("case", "part"), ONLY_ONNX.values(), ids=ONLY_ONNX)
def test_what_pytorch_cannot_say_is_refused_by_name(case, part):
    with pytest.raises(Untranslatable, match=r"^layer") as caught:
        twin(case.net, case.in_shape)
    assert part in str(caught.value)


def test_only_networks_of_layers_are_exported():
    with pytest.raises(Untranslatable, match="only a Sequential can be exported, not Dense"):
        twin(nn.Dense(2), (3,))


# The names of pytorch/examples, dcgan/main.py -----------------------------------------------------------


def example_networks(torch, nz, ngf, ndf, nc):
    """Generator.main and Discriminator.main, as they stand there, without what computes no tensor."""
    t = torch.nn
    g = [t.ConvTranspose2d(nz, ngf * 8, 4, 1, 0, bias=False), t.BatchNorm2d(ngf * 8), t.ReLU(True)]
    for wide in (8, 4, 2):
        g += [t.ConvTranspose2d(ngf * wide, ngf * wide // 2, 4, 2, 1, bias=False), t.BatchNorm2d(ngf * wide // 2)]
        g += [t.ReLU(True)]
    g += [t.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False), t.Tanh()]
    d = [t.Conv2d(nc, ndf, 4, 2, 1, bias=False), t.LeakyReLU(0.2, inplace=True)]
    for wide in (1, 2, 4):
        d += [t.Conv2d(ndf * wide, ndf * wide * 2, 4, 2, 1, bias=False), t.BatchNorm2d(ndf * wide * 2)]
        d += [t.LeakyReLU(0.2, inplace=True)]
    d += [t.Conv2d(ndf * 8, 1, 4, 1, 0, bias=False), t.Sigmoid()]
    return [t.Sequential(OrderedDict(main=t.Sequential(*layers))).eval() for layers in (g, d)]


def example_tensors(case: Case, theta: nn.Params) -> dict[str, np.ndarray]:
    return state_dict(example_twin(twin(case.net, case.in_shape, **case.images)), theta)


def test_the_generator_loads_into_pytorch_s_example(torch):
    theta, z = DCGAN.theta(), DCGAN.x()
    net_g, _ = example_networks(torch, 5, 2, 2, 3)
    made = torch_twin.run(torch, net_g, example_tensors(DCGAN, theta), z[:, :, None, None])
    np.testing.assert_allclose(made, DCGAN.output(theta, z), rtol=0, atol=1e-5)


def test_the_discriminator_loads_into_pytorch_s_example(torch):
    case = NETWORKS["dcgan-64 discriminator"]
    theta, x = case.theta(), case.x()
    _, net_d = example_networks(torch, 5, 2, 2, 3)
    made = torch_twin.run(torch, net_d, example_tensors(case, theta), first(x))
    np.testing.assert_allclose(made.reshape(-1, 1), 1 / (1 + np.exp(-case.output(theta, x))), rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_example_s_networks_are_read_back(torch, network):
    case = NETWORKS[f"dcgan-64 {network}"]
    theirs = example_networks(torch, 5, 2, 2, 3)[network == "discriminator"]
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    theta = zeros(case)
    load_into(case.net, theta, tensors)
    for name, tensor in example_tensors(case, theta).items():
        np.testing.assert_array_equal(tensor, tensors[name])


# Reading back -------------------------------------------------------------------------------------------


def test_counters_may_be_missing():
    tensors = tensors_of(DCGAN, DCGAN.theta())
    theta = zeros(DCGAN)
    load_into(DCGAN.net, theta, {name: t for name, t in tensors.items() if "tracked" not in name})
    assert theta.flat.tobytes() == DCGAN.theta().flat.tobytes()


def change(name, tensor):
    return lambda tensors: tensors | {name: tensor}


def drop(*names):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("1.weight", "5.running_var"), "1.weight is missing; 5.running_var is missing"),
        (change("3.weight", np.zeros(2, np.float32)), "3.weight is unknown"),
        (change("1.weight", np.zeros((16, 5, 4, 4), np.float32)), "1.weight is (16, 5, 4, 4), not (5, 16, 4, 4)"),
        (change("2.bias", np.zeros(16, np.int64)), "2.bias is int64, not of floating point"),
        (drop(*tensors_of(DCGAN, DCGAN.theta())), "1.weight is missing; 2.weight is missing; 2.bias is missing; "
                                                  "2.running_mean is missing; and 17 more"),
        (lambda tensors: {f"main.{name}": tensor for name, tensor in tensors.items()}, "main.0.weight is missing"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused_with_nothing_changed(damage, message):
    tensors, theta = damage(tensors_of(DCGAN, DCGAN.theta())), zeros(DCGAN)
    with pytest.raises(DataError) as caught:
        load_into(DCGAN.net, theta, tensors)
    assert str(caught.value).startswith(f"the tensors are not of this network: {message}")
    assert "\n" not in str(caught.value)
    assert not theta.flat.any()


def test_variances_below_zero_are_refused_with_nothing_changed():
    """They would make a picture without a single number in it."""
    theta, tensors = zeros(DCGAN), tensors_of(DCGAN, DCGAN.theta())
    tensors["2.running_var"] = -tensors["2.running_var"]
    with pytest.raises(DataError, match=r"^2\.running_var holds variances below zero$"):
        load_into(DCGAN.net, theta, tensors)
    assert not theta.flat.any()


def test_double_precision_is_read_into_single():
    theta = zeros(DCGAN)
    load_into(DCGAN.net, theta, tensors_of(DCGAN, DCGAN.theta(np.float64)))
    np.testing.assert_allclose(theta.flat, DCGAN.theta().flat, rtol=1e-6)


def test_parameters_on_a_device_are_written_and_read_there(device):
    theta = zeros(DCGAN).to(device)
    load_into(DCGAN.net, theta, tensors_of(DCGAN, DCGAN.theta()))
    back = tensors_of(DCGAN, theta)
    for name, tensor in tensors_of(DCGAN, DCGAN.theta()).items():
        np.testing.assert_array_equal(back[name], tensor)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"\xff" * 100], ids=["empty", "pickle", "noise"])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.pth is no safetensors file") as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nothing: No such file"):
        read_tensors(tmp_path / "nothing")


def test_the_prefix_of_data_parallel_is_left_out(tmp_path):
    tensors = {"0.weight": np.ones((2, 3), np.float32), "0.bias": np.zeros(2, np.float32)}
    file = tmp_path / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, file)
    assert read_tensors(file).keys() == tensors.keys()
