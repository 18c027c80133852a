"""Which module an array belongs to, which device is chosen, and how arrays move."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from minigan import backend
from minigan.backend import CPU, GPUUnavailable, array_module, put_like, select_device, to_host
from minigan.errors import UsageError, UserError
from tests.strict_cupy import counting, forbid_synchronisation


@pytest.fixture
def no_cupy(monkeypatch):
    """As where CuPy is not installed."""
    monkeypatch.setitem(sys.modules, "cupy", None)


class DriverError(Exception):
    """What a fake CuPy raises; CuPy's own is such a class, too."""


def fake_cupy(monkeypatch, count=None, allocate=None, multiply=None, wait=None):
    """A CuPy whose driver gives a number of GPUs, or which fails with these errors."""

    def answer(result, *_, **__):
        if isinstance(result, Exception):
            raise result
        return result

    cupy = ModuleType("cupy")
    cupy.__version__ = "14.0"
    cupy.ndarray = type("ndarray", (), {})
    used = []
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=lambda: answer(count)),
        Device=lambda index: SimpleNamespace(use=lambda: used.append(index)),
    )
    cupy.ndarray.__matmul__ = lambda *_: answer(multiply) or cupy.ndarray()
    cupy.ndarray.get = lambda _: answer(wait)
    cupy.ones = lambda *_, **__: answer(allocate) or cupy.ndarray()
    cupy.used = used
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


# array_module -------------------------------------------------------------------------------------------


def test_arrays_and_scalars_of_numpy_belong_to_numpy():
    assert array_module(np.zeros(2)) is np
    assert array_module(np.float32(1), np.zeros((0, 3))) is np


def test_arrays_of_the_device_belong_to_its_module(device):
    x = device.put(np.ones(3))
    assert array_module(x) is device.xp
    assert array_module(x, x.sum(), x[:0]) is device.xp


@pytest.mark.parametrize("host", [np.ones(3), np.float64(1)])
def test_mixed_arrays_are_refused_and_both_kinds_named(host, strict):
    x = strict.put(np.ones(3))
    for arrays in [(x, host), (host, x), (x, host, x)]:
        with pytest.raises(TypeError, match=r"arrays of different devices: .*cupy\.ndarray.*numpy\."):
            array_module(*arrays)


@pytest.mark.parametrize(
    ("value", "name"), [([1.0], "list"), (1.0, "float"), (None, "NoneType"), ("x", "str"), (np, "module")]
)
def test_what_is_no_array_is_refused_by_its_type(value, name, strict):
    with pytest.raises(TypeError, match=rf"expected a NumPy or CuPy array, got builtins\.{name}"):
        array_module(value)
    with pytest.raises(TypeError, match=rf"got builtins\.{name}"):
        array_module(strict.put(np.ones(3)), value)
    with pytest.raises(TypeError, match=rf"got builtins\.{name}"):
        to_host(value)


@pytest.mark.usefixtures("no_cupy")
def test_numpy_arrays_need_no_cupy():
    assert array_module(np.ones(3)) is np
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array"):
        array_module([1.0])


def test_no_array_belongs_nowhere():
    with pytest.raises(TypeError):
        array_module()


# Moving arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
def test_arrays_survive_the_way_to_a_device_and_back(dtype, shape, device):
    host = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for there in (device.put(host), put_like(host, device.put(np.zeros(1)))):
        assert isinstance(there, device.xp.ndarray)
        back = to_host(there)
        assert isinstance(back, np.ndarray)
        assert back.dtype == dtype
        assert back.shape == shape
        assert np.array_equal(back, host)


def test_on_the_cpu_nothing_is_copied():
    x = np.ones(3)
    assert CPU.put(x) is x
    assert put_like(x, np.zeros(1)) is x
    assert to_host(x) is x


def test_a_numpy_scalar_becomes_an_array_on_the_host():
    assert isinstance(to_host(np.float32(2)), np.ndarray)
    assert to_host(np.float32(2)).dtype == np.float32


def test_only_the_way_back_waits_for_the_gpu(strict):
    with forbid_synchronisation():
        x = strict.put(np.ones(3))
        put_like(np.zeros(2), x)
    with counting() as counts:
        to_host(x)
    assert counts.synchronisations == 1


def test_waiting_for_a_device(strict):
    CPU.synchronize()
    with counting() as counts:
        strict.synchronize()
    assert counts.synchronisations == 1


# Choosing a device --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpu", "", "GPU", "gpu:", "gpu:x", "gpu:-1", "gpu:1.0", "gpu0", "cpu:0", "gpu:0:1"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(UsageError, match=f"unknown device '{name}': choose auto, cpu, gpu or gpu:N"):
        select_device(name)


@pytest.mark.parametrize("name", ["gpu", "gpu:0", "auto"])
def test_a_usable_gpu_is_taken(name, monkeypatch):
    cupy = fake_cupy(monkeypatch, count=2)
    device = select_device(name)
    assert device.name == "gpu:0"
    assert device.xp is cupy
    assert cupy.used == [0]


def test_auto_is_the_default(monkeypatch):
    fake_cupy(monkeypatch, count=1)
    assert select_device().name == "gpu:0"
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert select_device() is CPU


def test_a_gpu_can_be_chosen_by_number(monkeypatch):
    cupy = fake_cupy(monkeypatch, count=2)
    assert select_device("gpu:1").name == "gpu:1"
    assert cupy.used == [1]


def test_cpu_is_the_cpu_even_where_there_is_a_gpu(monkeypatch):
    cupy = fake_cupy(monkeypatch, count=2)
    assert select_device("cpu") is CPU
    assert cupy.used == []


@pytest.mark.usefixtures("no_cupy")
def test_without_cupy_the_error_names_the_line_that_installs_it():
    with pytest.raises(GPUUnavailable, match=r"pip install 'cupy-cuda12x\[ctk\]'") as caught:
        select_device("gpu")
    assert "pip install 'cupy-cuda13x[ctk]'" in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_cupy_that_cannot_be_imported_keeps_its_reason(monkeypatch):
    def fail(_):
        raise ImportError("\n====\nFailed to import CuPy.\n\nlibcudart.so.12: cannot open shared object file\n")

    monkeypatch.setattr(backend.importlib, "import_module", fail)
    with pytest.raises(GPUUnavailable, match=r"CuPy is not usable \(Failed to import CuPy\.\); install") as caught:
        select_device("gpu")
    assert "libcudart" in str(caught.value.__cause__)


BROKEN = {
    "the driver": (
        {"count": DriverError("cudaErrorInsufficientDriver: old\n...")},
        r"driver gave: .*old; .*nvidia-smi",
    ),
    "a missing library": ({"count": OSError("libcuda.so.1: cannot open")}, "driver gave: libcuda.so.1"),
    "an error without words": ({"count": DriverError()}, "driver gave: DriverError"),
    "no GPU": ({"count": 0}, "no GPU number 0: this machine has 0"),
    "full memory": ({"count": 1, "allocate": DriverError("out of memory")}, "on gpu:0 failed: out of memory$"),
    "a broken GPU": ({"count": 1, "wait": DriverError("illegal")}, "computing on gpu:0 failed: illegal$"),
    "no compiler": (
        {"count": 1, "allocate": RuntimeError('no "libnvrtc.so.12"')},
        r"no \"libnvrtc.so.12\"; .*12x\[ctk",
    ),
    "no cuBLAS": (
        {"count": 1, "multiply": ImportError("no libcublas.so.12")},
        r"failed: no libcublas.so.12; .*12x\[ctk",
    ),
}


@pytest.mark.parametrize(("broken", "message"), BROKEN.values(), ids=BROKEN)
def test_a_gpu_that_cannot_be_used_is_refused_in_one_line_with_its_cause(broken, message, monkeypatch):
    fake_cupy(monkeypatch, **broken)
    with pytest.raises(GPUUnavailable, match=message) as caught:
        select_device("gpu")
    assert "\n" not in str(caught.value)
    errors = [value for value in broken.values() if isinstance(value, Exception)]
    assert caught.value.__cause__ is (errors[0] if errors else None)


@pytest.mark.parametrize("broken", [broken for broken, _ in BROKEN.values()], ids=BROKEN)
def test_auto_falls_back_to_the_cpu(broken, monkeypatch):
    fake_cupy(monkeypatch, **broken)
    assert select_device("auto") is CPU


@pytest.mark.parametrize("name", ["gpu", "gpu:0", "gpu:5"])
@pytest.mark.usefixtures("no_cupy")
def test_gpu_never_falls_back(name):
    with pytest.raises(GPUUnavailable):
        select_device(name)


def test_a_gpu_number_that_does_not_exist_is_refused(monkeypatch):
    cupy = fake_cupy(monkeypatch, count=2)
    with pytest.raises(GPUUnavailable, match="no GPU number 2: this machine has 2"):
        select_device("gpu:2")
    assert cupy.used == []
