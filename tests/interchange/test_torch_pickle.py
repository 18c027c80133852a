"""Reading what torch.save has written, without PyTorch: right for state dicts, and harmless for anything else."""

import io
import os
import pickle
import re
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from minigan.errors import DataError
from minigan.interchange.torch_layout import read_tensors
from minigan.interchange.torch_pickle import OLD
from tests.mutations import mutations

GOLDEN = Path(__file__).parents[1] / "golden"


class Named:
    """Pickles as a global name, whether or not there is anything of that name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Stored:
    """Pickles as a persistent id."""

    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle._Pickler):
    """Writes the three kinds above; protocol 2, as torch.save does."""

    def persistent_id(self, thing):
        return thing.pid if isinstance(thing, Stored) else None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Named):
            self.write(b"c" + f"{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(thing.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(thing, save_persistent_id)


REBUILD, FLOATS = Named("torch._utils", "_rebuild_tensor_v2"), Named("torch", "FloatStorage")


def pickled(thing):
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(thing)
    return stream.getvalue()


def archive(path, thing, numbers=4, compression=zipfile.ZIP_STORED, **more):
    """A file as torch.save makes it, with one storage of float32 numbers 0, 1, 2, ..."""
    files = {"data.pkl": thing if isinstance(thing, bytes) else pickled(thing)}
    files |= {"data/0": np.arange(numbers, dtype="<f4").tobytes(), "version": b"3"} | more
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in files.items():
            made.writestr(f"archive/{name}", content)
    return path


def tensor(offset=0, size=(2, 2), stride=(2, 1), pid=("storage", FLOATS, "0", "cpu", 4)):
    return Call(REBUILD, Stored(*pid), offset, size, stride, False, OrderedDict())


@pytest.mark.parametrize("name", ["netG", "netD"])
def test_the_numbers_are_those_that_pytorch_reads(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    theirs, ours = torch.load(GOLDEN / f"{name}.pth", weights_only=True), read_tensors(GOLDEN / f"{name}.pth")
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key].numpy(), strict=True)


def test_tensors_are_windows_into_storages(tmp_path):
    parts = OrderedDict(a=tensor(), transposed=tensor(stride=(1, 2)), one=tensor(3, (), ()), none=tensor(4, (0,), (1,)))
    found = read_tensors(archive(tmp_path / "x.pt", parts))
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [[0, 1], [2, 3]], "transposed": [[0, 2], [1, 3]], "one": 3, "none": [],
    }  # fmt: skip


def test_every_type_of_numbers_that_numpy_has_is_read(tmp_path):
    torch = pytest.importorskip("torch", reason="writes with PyTorch, which is not installed")
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int64, torch.int32):
        torch.save({"x": torch.arange(6).reshape(2, 3).T.to(dtype)}, tmp_path / "x.pth")
        found = read_tensors(tmp_path / "x.pth")["x"]
        assert str(found.dtype) == str(dtype).removeprefix("torch.")
        assert found.tolist() == [[0, 3], [1, 4], [2, 5]]


RUNS_CODE = {
    "system": Call(Named("os", "system"), "touch harmed"),
    "posix": Call(Named("posix", "system"), "touch harmed"),
    "eval": Call(Named("builtins", "eval"), "open('harmed', 'w')"),
    "open": Call(Named("io", "open"), "harmed", "w"),
    "getattr": Call(Named("builtins", "getattr"), Named("os", "system"), "x"),
    "dotted name": Call(Named("collections", "OrderedDict.__class__"), "harmed"),
    "within a tensor": Call(REBUILD, Call(Named("os", "system"), "touch harmed"), 0, (1,), (1,)),
    "storage type": tensor(pid=("storage", Call(Named("os", "system"), "touch harmed"), "0", "cpu", 4)),
    "torch.load": Call(Named("torch", "load"), "harmed"),
    "numpy": Call(Named("numpy", "save"), "harmed", 1),
}


@pytest.mark.parametrize("attack", RUNS_CODE.values(), ids=RUNS_CODE)
def test_nothing_in_a_pickle_is_run(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = archive(tmp_path / "evil.pth", OrderedDict(weight=attack))
    with pytest.raises(DataError, match=r"evil\.pth is no state dict of PyTorch that can be read safely: it names"):
        read_tensors(file)
    assert os.listdir(tmp_path) == ["evil.pth"]


def test_the_attack_works_where_nobody_refuses_it(tmp_path, monkeypatch):
    """Else the test above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickled(RUNS_CODE["system"]))
    assert (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("thing", "part"),
    [
        ([tensor()], "holds list, not a state dict"),
        ({"netG": {"weight": tensor()}}, "its entry 'netG' is no tensor: save model.state_dict() alone"),
        ({"epoch": 3}, "its entry 'epoch' is no tensor"),
        ({3: tensor()}, "a dictionary whose keys are no text"),
        ({"x": Named("torch", "FloatStorage")}, "its entry 'x' is no tensor"),
        ({"x": Call(Named("__main__", "Generator"))}, "it names __main__.Generator"),
        ({"x": tensor(pid=("storage", Named("torch", "BFloat16Storage"), "0", "cpu", 4))}, "torch.BFloat16Storage"),
        ({"x": tensor(size=(2, 3))}, "a tensor larger than its numbers"),
        ({"x": tensor(1)}, "a tensor larger than its numbers"),
        ({"x": tensor(size=(10**9, 10**9), stride=(0, 0))}, "a tensor larger than its numbers"),
        ({"x": tensor(size=(2,), stride=(-1,))}, "no row of whole numbers"),
        ({"x": tensor(-1)}, "no row of whole numbers"),
        ({"x": tensor(size=(2,))}, "a tensor of no storage"),
        ({"x": Call(REBUILD, 1, 0, (1,), (1,))}, "a tensor of no storage"),
        ({"x": tensor(pid=("storage", FLOATS, "1", "cpu", 4))}, "There is no item named"),
        ({"x": tensor(pid=("storage", "FloatStorage", "0", "cpu", 4))}, "it refers to something that is no storage"),
        ({"x": tensor(pid=())}, "can be read safely"),
        (b"", "can be read safely"),
        (b"\x80\x02}", "can be read safely"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, thing, part):
    with pytest.raises(DataError, match=r"x\.pth") as caught:
        read_tensors(archive(tmp_path / "x.pth", thing))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_archives_of_another_kind_are_refused(tmp_path):
    good, file = OrderedDict(x=tensor()), tmp_path / "x.pth"
    with pytest.raises(DataError, match="its files are compressed"):
        read_tensors(archive(file, good, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match="big-endian"):
        read_tensors(archive(file, good, byteorder=b"big"))


MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
LAYERS = {
    "a": tensor(stride=(1, 2), pid=("storage", FLOATS, "7", "cpu", 4, None)),
    "b": tensor(size=(2,), stride=(1,), pid=("storage", Named("torch", "LongStorage"), "1", "cpu", 2, None)),
    "c": tensor(pid=("storage", FLOATS, "0", "cpu", 4, None)),
}
STORED = {"0": np.arange(4, dtype="<f4"), "1": np.array([8, 9]), "7": np.array([0, 1, 2, 3], "<f4")}


def old_file(path, thing=LAYERS, stored=STORED, mark=OLD[0], version=OLD[1], machine=MACHINE, keys=None, cut=None):
    """A file as torch.save made it before PyTorch 1.6."""
    heads = [pickled(part) for part in (mark, version, machine, thing, list(stored) if keys is None else keys)]
    bodies = [len(array).to_bytes(8, "little") + array.tobytes() for array in stored.values()]
    path.write_bytes(b"".join([*heads, *bodies])[:cut])
    return path


def test_files_of_before_pytorch_1_6_are_read(tmp_path):
    found = read_tensors(old_file(tmp_path / "x.pth"))
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [[0, 2], [1, 3]], "b": [8, 9], "c": [[0, 1], [2, 3]],
    }  # fmt: skip
    assert found["b"].dtype == np.int64


def test_such_files_are_what_pytorch_writes_and_reads(tmp_path):
    torch = pytest.importorskip("torch", reason="writes with PyTorch, which is not installed")
    tensors = {"x": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(5), "none": torch.zeros(0)}
    tensors["part"] = tensors["x"][1:]
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    found = read_tensors(tmp_path / "x.pth")
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in tensors.items()
    }
    theirs = torch.load(old_file(tmp_path / "y.pth", OrderedDict(LAYERS)), weights_only=True)
    assert theirs["a"].tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"mark": 3}, "it is none of PyTorch's"),
        ({"version": 1002}, "it is none of PyTorch's"),
        ({"machine": MACHINE | {"little_endian": False}}, "big-endian"),
        ({"keys": ["0", "1"]}, "it holds other storages than its tensors need"),
        ({"keys": ["0", "1", "7", "7"]}, "it holds other storages than its tensors need"),
        ({"keys": ["1", "0", "7"]}, "a storage of another length"),
        ({"cut": -1}, "buffer is smaller"),
        ({"cut": -12}, "buffer is smaller"),  # one number is left, which must not be taken for all
        ({"thing": {"x": tensor(pid=("storage", FLOATS, "0", "cpu", 10**12, None))}}, "a storage larger than the file"),
        ({"thing": {"x": tensor(pid=("storage", FLOATS, "0", "cpu", -1, None))}}, "a storage larger than the file"),
        ({"thing": {"x": tensor(pid=("storage", FLOATS, "0", "cpu", 4, ("1", 0, 2)))}}, "something that is no storage"),
        *(({"thing": {"x": attack}}, "it names") for attack in RUNS_CODE.values()),
        ({"machine": RUNS_CODE["system"]}, "it names"),
        ({"keys": RUNS_CODE["system"]}, "it names"),
    ],
)
def test_such_files_are_refused_in_one_line(tmp_path, monkeypatch, changes, part):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"x\.pth") as caught:
        read_tensors(old_file(tmp_path / "x.pth", **changes))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["x.pth"]


def test_nothing_in_a_pickle_changes_the_reader(tmp_path):
    """BUILD sets attributes of whatever is there: of the two callables it can set none."""
    for target in (REBUILD, FLOATS, Named("collections", "OrderedDict")):
        harm = pickled(target)[:-1] + pickled((None, {"x": 1}))[2:-1] + pickle.BUILD + pickle.STOP
        with pytest.raises(DataError, match="can be read safely"):
            read_tensors(archive(tmp_path / "x.pth", harm))


def message(file):
    """What reading says, if it refuses."""
    try:
        read_tensors(file)
    except DataError as err:
        return str(err)
    return ""


@pytest.mark.parametrize("old", [False, True])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, old):
    file = tmp_path / "x.pth"
    original = (old_file(file) if old else GOLDEN / "netG.pth").read_bytes()
    said = []
    for damaged in mutations(original, 300, seed=0, head=len(original) // 5):
        file.write_bytes(damaged)
        said.append(message(file))
    assert not any("\n" in text for text in said)
    assert len([text for text in said if text]) > 100


def with_pickle(tmp_path, content):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
    return path


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\x80\x02}r\x00\x00\x00\x08.", None),  # a far place in the memo: 2 GB in Python's other reader
        (b"\x80\x02}K\x01" + 60 * b"q\x00h\x00\x86" + b"K\x01s.", "keys are no text"),  # hashing takes 2^60 steps
        (b"\x80\x02}K\x01" + 60 * b"2\x86" + b"K\x01s.", "instruction b'2'"),  # the same by DUP
        (b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.", "instruction b'\\x96'"),  # an array of 2^36 bytes
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01K\x02\x85Rs.", "it calls something"),
        (b"\x80\x02}K\x01b.", "it gives attributes to something"),
    ],
)  # fmt: skip
def test_bytes_that_claim_much_take_no_time_and_no_memory(content, part, tmp_path):
    path = with_pickle(tmp_path, content)
    tracemalloc.start()
    began = time.process_time()
    try:
        if part is None:
            assert read_tensors(path) == {}
        else:
            with pytest.raises(DataError, match=re.escape(part)):
                read_tensors(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10_000_000
    assert time.process_time() - began < 2


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: not a regular file"):
        read_tensors(tmp_path / "pipe")


def test_a_window_into_a_window_is_refused(tmp_path):
    """It could lead outside the storage, as the first may see one number many times."""
    inner = tensor(3, (4,), (0,))
    path = archive(tmp_path / "net.pth", {"x": Call(REBUILD, inner, 0, (4,), (1,))})
    with pytest.raises(DataError, match="a tensor of no storage"):
        read_tensors(path)


@pytest.mark.parametrize("size", [(2**70, 1), (1,) * 100])
def test_sizes_that_no_array_has_are_refused_before_they_are_multiplied(size, tmp_path):
    path = archive(tmp_path / "net.pth", {"x": tensor(0, size, (0,) * len(size))})
    with pytest.raises(DataError, match="no row of whole numbers"):
        read_tensors(path)


def test_keys_of_an_old_file_are_not_compared_before_they_are_texts(tmp_path):
    """Two equal lists of lists of lists, each of one list twice, are compared in 2^depth steps."""
    left, right = [], []
    for _ in range(60):
        left, right = [left, left], [right, right]
    path = tmp_path / "old.pth"
    path.write_bytes(b"".join(map(pickled, (*OLD, MACHINE, {}, [left, right]))))
    with pytest.raises(DataError, match="other storages than its tensors need"):
        read_tensors(path)


def test_the_fourth_protocol_is_read_too(tmp_path):
    content = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R."
    assert read_tensors(with_pickle(tmp_path, content)) == {}
    with pytest.raises(DataError, match=r"it names os\.system"):
        read_tensors(with_pickle(tmp_path, b"\x80\x04\x8c\x02os\x8c\x06system\x93)R."))
