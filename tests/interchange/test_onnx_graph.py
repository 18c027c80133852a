"""A network as ONNX: valid, and the same outputs from onnxruntime."""

import numpy as np
import pytest

from minigan import nn
from minigan.interchange.onnx_graph import OPERATORS, TRANSLATIONS, onnx_bytes
from minigan.interchange.steps import Untranslatable
from tests.interchange.networks import LAYERS, NETWORKS, ONLY_ONNX, Case, first

pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed: pip install '.[export]'")

ALL = NETWORKS | LAYERS | {name: case for name, (case, _) in ONLY_ONNX.items()}
every_network = pytest.mark.parametrize("case", ALL.values(), ids=ALL)


@pytest.fixture(scope="module")
def session():
    """Opens a model, on one thread."""
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return lambda content: runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def given(case: Case, x: np.ndarray) -> np.ndarray:
    """Inputs as the graph takes them: images (N, C, H, W), also those that minigan's network takes flat."""
    return first(x if x.ndim > 2 else x.reshape(len(x), *case.images.get("image_in", case.in_shape)))


@every_network
def test_onnxruntime_makes_the_same_of_the_same_inputs(case, session):
    theta = case.theta()
    model = session(onnx_bytes(case.net, theta, **case.images))
    for count in (1, 4):  # any batch size
        x = case.x(count)
        ours, (made,) = case.output(theta, x), model.run(None, {"input": given(case, x)})
        assert made.shape == ours.shape
        np.testing.assert_allclose(made, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_a_condition_can_be_an_input_of_its_own(role, session):
    case = NETWORKS[f"cdcgan-28 {role}"]
    theta, x = case.theta(), case.x()
    model = session(onnx_bytes(case.net, theta, **case.images, names=("in", "out"), condition="y"))
    y = np.random.default_rng(2).normal(size=(len(x), 3)).astype(np.float32)
    x[..., -3:] = y.reshape(len(x), *(1,) * (x.ndim - 2), 3)
    (made,) = model.run(None, {"in": first(x[..., :-3]), "y": y})
    ours = case.output(theta, x)
    assert [end.name for end in model.get_inputs()] == ["in", "y"]
    np.testing.assert_allclose(made, ours[:, :-3] if role == "generator" else ours, rtol=0, atol=1e-5)


def test_a_flat_network_is_told_its_condition_apart(session):
    net = nn.Sequential(nn.Conditioned(2, nn.Dense(8), nn.Tanh()), nn.Conditioned(2, nn.Dense(12)))
    case = Case(net, (7,), {"image_out": (2, 3, 2)})
    theta, x = case.theta(), case.x()
    model = session(onnx_bytes(net, theta, **case.images, condition="y"))
    (made,) = model.run(None, {"input": x[:, :5], "y": x[:, 5:]})
    ours, _ = net.forward(theta, x, train=False)
    np.testing.assert_allclose(made, first(ours[:, :-2].reshape(-1, 2, 3, 2)), rtol=0, atol=1e-5)


def test_batchnorm_of_this_batch_is_refused_by_name():
    net = nn.Sequential(nn.BatchNorm(track_running_stats=False))
    with pytest.raises(Untranslatable, match="layer batchnorm1: ONNX's batch normalisation needs running statistics"):
        onnx_bytes(net, nn.init_params(net, (3,), np.random.default_rng(0)))


def test_a_network_of_double_precision_is_written_in_single(session):
    case = NETWORKS["dcgan-28 generator"]
    theta, x = case.theta(np.float64), case.x()
    (made,) = session(onnx_bytes(case.net, theta, **case.images)).run(None, {"input": x})
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, case.output(theta, x.astype(np.float64)), rtol=0, atol=1e-5)


def test_the_file_tells_names_shapes_and_facts(session):
    case = NETWORKS["mlp-mnist generator"]
    content = onnx_bytes(case.net, case.theta(), **case.images, names=("z", "images"), facts={"recipe": "mlp-mnist"})
    model = session(content)
    ends = [(end.name, end.shape) for end in (*model.get_inputs(), *model.get_outputs())]
    assert ends == [("z", ["N", 5]), ("images", ["N", 3, 5, 4])]
    assert model.get_modelmeta().custom_metadata_map["recipe"] == "mlp-mnist"
    assert model.get_modelmeta().producer_name == "minigan"


def test_every_layer_has_a_translation():
    kinds = {kind for name in nn.__all__ if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Layer)}
    kinds -= {nn.GhostBatchNorm, nn.SyncBatchNorm}  # of training; a saved run has BatchNorm in their place
    assert kinds - {nn.Layer, nn.Sequential} == OPERATORS.keys() | TRANSLATIONS.keys()
    used = {type(layer) for case in ALL.values() for layer in case.net.layers}
    assert kinds - {nn.Layer} <= used  # and is in a test above


def test_a_layer_from_elsewhere_is_refused_by_name():
    class Mystery(nn.Layer):
        pass

    net = nn.Sequential(nn.ReLU(), Mystery())
    with pytest.raises(Untranslatable, match="layer mystery1: there is no translation of Mystery to ONNX"):
        onnx_bytes(net, nn.init_params(net, (3,), np.random.default_rng(0)))
