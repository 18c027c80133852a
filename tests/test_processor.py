"""Which of OpenBLAS's kernels are asked for, by what the processor says of itself."""

import io
import os

import pytest

from minigan import processor
from minigan.processor import WIDE_FEATURES, choose_blas_kernels, cpuinfo

ALL = " ".join(sorted(WIDE_FEATURES))


def pretend(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A machine whose /proc/cpuinfo is this."""
    monkeypatch.setattr(processor, "open", lambda *_, **__: io.StringIO(text), raising=False)


def described(vendor: str, flags: str) -> str:
    """Two cores; what is told of the second one may not matter."""
    first = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: a: b\nflags\t\t: fpu {flags}\n\n"
    return first + "processor\t: 1\nvendor_id\t: Other\nflags\t\t: fpu\n"


@pytest.mark.parametrize("name", ["VECLIB_MAXIMUM_THREADS", "FOR_DISABLE_CONSOLE_CTRL_HANDLER"])
def test_other_libraries_are_told_once_and_a_setting_stays(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    choose_blas_kernels()
    assert os.environ[name] == "1"
    monkeypatch.setenv(name, "3")
    choose_blas_kernels()
    assert os.environ[name] == "3"


@pytest.mark.parametrize(
    ("vendor", "flags", "chosen"),
    [
        ("AuthenticAMD", ALL, "SkylakeX"),
        ("AuthenticAMD", "avx2 avx512f", None),  # the kernels need more than that
        ("AuthenticAMD", "avx2", None),
        ("GenuineIntel", ALL, None),  # OpenBLAS knows them
    ],
)
def test_amd_processors_with_avx_512_get_the_kernels_for_it(monkeypatch, vendor, flags, chosen):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    pretend(monkeypatch, described(vendor, flags))
    choose_blas_kernels()
    assert os.environ.get("OPENBLAS_CORETYPE") == chosen
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)


@pytest.mark.parametrize("setting", ["Haswell", "Zen"])
def test_a_setting_of_the_user_s_stays(monkeypatch, setting):
    monkeypatch.setenv("OPENBLAS_CORETYPE", setting)
    pretend(monkeypatch, described("AuthenticAMD", ALL))
    choose_blas_kernels()
    assert os.environ["OPENBLAS_CORETYPE"] == setting


def test_what_is_read(monkeypatch):
    pretend(monkeypatch, described("AuthenticAMD", "avx2"))
    assert cpuinfo() == ("AuthenticAMD", {"fpu", "avx2"})


@pytest.mark.parametrize("text", ["", "Features\t: fp asimd\n", "no colon at all\n"])
def test_other_machines_say_nothing(monkeypatch, text):
    pretend(monkeypatch, text)
    assert cpuinfo() == ("", set())


def test_no_such_file(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(processor, "open", missing, raising=False)
    assert cpuinfo() == ("", set())


@pytest.mark.parametrize(
    ("text", "number"),
    [("max 100000\n", 4), ("200000 100000\n", 2), ("50000 100000\n", 1), ("900000 100000\n", 4), ("what\n", 4)],
)
def test_as_many_processors_as_the_container_has_a_share_of(text, number, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(processor, "SHARE", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert processor.processors() == number


def test_where_no_share_is_told_all_count(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "SHARE", str(tmp_path / "nothing"))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert processor.processors() == 3
