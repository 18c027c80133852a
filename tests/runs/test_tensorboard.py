"""Events for TensorBoard: they say what the run's own files say, and never harm the run."""

import errno
import re
import shutil
import struct
import sys
from collections import defaultdict

import pytest
from PIL import Image

from minigan.errors import UsageError
from minigan.runs import tensorboard
from minigan.runs.checkpoint import checkpoint_files, step_of
from minigan.runs.folder import RunFolder
from minigan.runs.metrics import COLUMNS, read_metrics
from minigan.runs.record import Record
from minigan.runs.vitals import read_vitals
from tests.commands import run as command
from tests.runs import test_scoring
from tests.runs.test_scoring import play

quick = test_scoring.quick  # a fixture, in use here too
Event = pytest.importorskip("tensorboardX.proto.event_pb2").Event


def records(path):
    """The records of a file: length, checksum of the length, content, checksum of the content."""
    from tensorboardX.record_writer import masked_crc32c

    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        record = content[12 : 12 + length]
        sums = struct.unpack("<I", content[8:12]) + struct.unpack("<I", content[12 + length : 16 + length])
        assert sums == (masked_crc32c(content[:8]), masked_crc32c(record))
        found.append(record)
        content = content[16 + length :]
    return found


def events(path):
    """{tag: {step: value}} of the newest file of events in a run's folder; all others are empty."""
    *older, file = RunFolder(path).event_files()
    assert all(path.stat().st_size == 0 for path in older)
    first, start, *others = map(Event.FromString, records(file))
    assert first.file_version == "brain.Event:2"
    assert start.session_log.status == start.session_log.START  # all that a reader has seen before is void
    found = defaultdict(dict)
    for event in others:
        for value in event.summary.value:
            assert event.step not in found[value.tag]  # nothing twice
            found[value.tag][event.step] = getattr(value, value.WhichOneof("value"))
    return found


def test_events_say_what_the_files_of_the_run_say(tmp_path):
    folder = play(tmp_path, tensorboard=True).folder
    found = events(tmp_path)
    for group, file in (("metrics", folder.metrics), ("scores", folder.scores)):
        rows = read_metrics(file, None)
        assert rows
        for name in rows[0].keys() - {"step"}:
            told = found.pop(f"{group}/{name}")
            assert told == pytest.approx({int(row["step"]): row[name] for row in rows}, rel=1e-6, nan_ok=True)
    vitals = read_vitals(folder.vitals)
    assert found.pop("vitals/spread") == pytest.approx({v.step: v.spread for v in vitals}, rel=1e-6)
    for kind in ("gradients", "updates", "weights", "dead", "saturated"):
        for player, layers in getattr(vitals[0], kind).items():
            for layer in layers:
                told = found.pop(f"{kind}/{player}/{layer}")
                assert told == pytest.approx({v.step: getattr(v, kind)[player][layer] for v in vitals}, rel=1e-6)
    for digit in range(10):
        assert found.pop(f"vitals/class {digit}") == {v.step: v.classes[digit] for v in vitals}
    for tag, name in (("D of training images", "d_real"), ("D of samples", "d_fake")):
        histograms = found.pop(f"opinions/{tag}")
        assert {step: list(told.bucket) for step, told in histograms.items()} == {
            v.step: getattr(v, name) for v in vitals
        }
    pictures = found.pop("samples")
    assert {step: told.encoded_image_string for step, told in pictures.items()} == {
        step_of(path): path.read_bytes() for path in folder.sample_files()
    }
    with Image.open(folder.sample_files()[0]) as picture:
        assert (pictures[0].width, pictures[0].height, pictures[0].colorspace) == (*picture.size, 1)
    assert not found


def test_a_histogram_has_the_moments_of_its_bins():
    counts = [0] * 20
    counts[3], counts[19] = 2, 1  # at 0.175 twice, and at 0.975
    made = tensorboard._histogram(counts)
    assert (made["num"], made["min"], made["max"], made["bucket"]) == (3, 0, 1, counts)
    assert made["sum"] == pytest.approx(2 * 0.175 + 0.975)
    assert made["sum_squares"] == pytest.approx(2 * 0.175**2 + 0.975**2)
    assert made["bucket_limit"] == pytest.approx([0.05 * edge for edge in range(1, 21)])


def test_events_of_a_resumed_run_are_those_of_one_in_one_go(tmp_path):
    play(tmp_path / "whole", tensorboard=True)
    play(tmp_path / "parts", tensorboard=True, steps=7)
    play(tmp_path / "parts", tensorboard=True, resume=True)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")


def test_a_run_that_is_resumed_with_events_for_the_first_time_tells_all_of_it(tmp_path):
    play(tmp_path / "whole", tensorboard=True)
    play(tmp_path / "parts", steps=18)
    assert not (tmp_path / "parts" / "tensorboard").exists()
    play(tmp_path / "parts", tensorboard=True, resume=True)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")


def test_the_run_itself_is_the_same_with_events(tmp_path):
    for name, wanted in (("with", True), ("without", False)):
        play(tmp_path / name, tensorboard=wanted)
    for file in ("metrics.csv", "vitals.jsonl", "scores.csv", "samples.png"):
        assert (tmp_path / "with" / file).read_bytes() == (tmp_path / "without" / file).read_bytes()


def test_a_damaged_older_picture_does_not_keep_a_run_from_going_on(tmp_path):
    folder = play(tmp_path, tensorboard=True, steps=9).folder
    folder.sample_path(0).write_bytes(b"damaged")
    play(tmp_path, tensorboard=True, resume=True)
    assert list(events(tmp_path)["samples"]) == [9, 18, 20]


@pytest.mark.parametrize("resume", [True, False])
def test_events_of_a_past_that_no_file_tells_of_are_emptied(tmp_path, resume):
    """And not removed: a TensorBoard that reads them goes on from there to the next file. Then they go."""
    play(tmp_path, tensorboard=True, steps=8)
    play(tmp_path, resume=resume, steps=9)
    assert [path.stat().st_size for path in RunFolder(tmp_path).event_files()] == [0]
    play(tmp_path, resume=resume)
    assert RunFolder(tmp_path).event_files() == []


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("linked", [True, False])
def test_events_of_other_programs_are_left_alone(tmp_path, resume, linked):
    own, run = tmp_path / "own", tmp_path / "run"
    own.mkdir()
    (own / "events.out.tfevents.1.host").write_bytes(b"mine")
    play(run, tensorboard=True, steps=8)
    if linked:
        shutil.rmtree(run / "tensorboard")
        (run / "tensorboard").symlink_to(own)
    else:
        own = shutil.copytree(own, run / "tensorboard", dirs_exist_ok=True)
    play(run, tensorboard=True, resume=resume)
    assert (own / "events.out.tfevents.1.host").read_bytes() == b"mine"


def test_numbers_are_those_of_the_files_to_the_last_digit(tmp_path):
    """So it does not matter whether a run was resumed; a number that metrics.csv has no column for is left out."""
    play(tmp_path / "whole", tensorboard=True, precision="float64")
    play(tmp_path / "parts", tensorboard=True, precision="float64", steps=8)
    play(tmp_path / "parts", tensorboard=True, precision="float64", resume=True)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")
    record = Record(RunFolder(tmp_path / "parts"), [], [])
    record.show(RunFolder(tmp_path / "parts"), [])
    record.add_row(dict.fromkeys(COLUMNS, 3.0) | {"penalty": 1.5})
    record.close()
    (*_, file) = sorted(RunFolder(tmp_path / "parts").event_files(), key=lambda path: path.stat().st_mtime_ns)
    tags = {value.tag for event in map(Event.FromString, records(file)) for value in event.summary.value}
    assert "metrics/loss_d" in tags
    assert "metrics/penalty" not in tags


@pytest.mark.parametrize("name", ["write_event", "flush"])
def test_a_disk_that_has_no_room_for_events_does_not_stop_the_run(tmp_path, monkeypatch, capsys, name):
    """They tell nothing that does not stand elsewhere."""
    from tensorboardX.event_file_writer import EventsWriter

    real, calls = getattr(EventsWriter, name), []

    def full(*arguments):
        calls.append(name)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    play(tmp_path / "whole", tensorboard=True)
    with monkeypatch.context() as patch:
        patch.setattr(EventsWriter, name, full)
        play(tmp_path / "full", tensorboard=True, steps=16)
    told = capsys.readouterr().out
    assert told.count("note: no more events for TensorBoard in ") == 1
    assert "(No space left on device); when the run is resumed, all are made anew" in told
    play(tmp_path / "full", tensorboard=True, resume=True)
    assert events(tmp_path / "full") == events(tmp_path / "whole")


@pytest.mark.parametrize("place", ["a file", "a link to nowhere"])
def test_where_there_is_no_place_for_events_an_older_run_is_not_lost(tmp_path, place):
    small = ("--hidden-g", 8, "--hidden-d", 8, "--latent", 3, "--batch-size", 8, "--device", "cpu", "--out", "run")
    assert command(tmp_path, "minigan.train", *small, "--steps", 2).returncode == 0
    events, before = tmp_path / "run" / "tensorboard", (tmp_path / "run" / "metrics.csv").read_bytes()
    if place == "a file":
        events.write_text("mine")
    else:
        events.symlink_to(tmp_path / "nowhere" / "x")
    done = command(tmp_path, "minigan.train", *small, "--steps", 3, "--tensorboard", "--overwrite")
    assert done.returncode == 1
    assert re.fullmatch(
        rf"minigan: error: cannot write events into run/tensorboard: .*; {tensorboard.WITHOUT}\n", done.stderr
    )
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    assert checkpoint_files(tmp_path / "run" / "checkpoints")


def test_what_was_added_is_shown_before_long(tmp_path, monkeypatch):
    """Also where no checkpoint comes for hours."""
    shown = []
    monkeypatch.setattr(tensorboard.Events, "flush", lambda _self: shown.append(None))
    made = tensorboard.Events(RunFolder(tmp_path))
    made.add_row("metrics", {"step": 1.0, "loss_d": 0.5})
    assert not shown
    monkeypatch.setattr(tensorboard, "FRESH", 0)
    made.add_row("metrics", {"step": 2.0, "loss_d": 0.5})
    assert shown
    made.close()


@pytest.mark.parametrize("source", ["raise ImportError", "raise TypeError('Descriptors')", "", "event_file_writer = 1"])
def test_without_the_package_it_is_told_before_anything_is_made(tmp_path, monkeypatch, source):
    """Or with one that cannot be used: a protobuf that does not fit raises a TypeError."""
    for name in [name for name in sys.modules if name.startswith("tensorboardX")]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "packages" / "tensorboardX"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(UsageError, match=r"--tensorboard needs tensorboardX \(.*\): pip install '\.\[tb\]'"):
        tensorboard.check_tensorboard(RunFolder(tmp_path / "run"))
    done = command(tmp_path, "minigan.train", "--tensorboard", "--steps", "1", "--out", "run", "--device", "cpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / "run").exists()


def test_the_command_keeps_the_option_and_takes_it_back(tmp_path):
    small = ("--hidden-g", 8, "--hidden-d", 8, "--latent", 3, "--batch-size", 8, "--device", "cpu", "--out", "run")
    done = command(tmp_path, "minigan.train", *small, "--steps", 2, "--tensorboard")
    assert (done.returncode, done.stderr) == (0, "")
    assert events(tmp_path / "run")["samples"].keys() == {0, 2}
    done = command(tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", 3, "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert events(tmp_path / "run")["samples"].keys() == {0, 3}
    done = command(
        tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", 4, "--no-tensorboard", "--device", "cpu"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(path.stat().st_size for path in RunFolder(tmp_path / "run").event_files())
