"""Real batches on their way to the device: in memory or out of it, the same ones; threads end in every case."""

import threading
import time

import numpy as np
import pytest

from minigan.backend import CPU, to_host
from minigan.data.batches import Batches
from minigan.data.stream import StreamedImages
from minigan.errors import DataError
from minigan.runs import feed as feeds
from minigan.runs.feed import Feed, StreamedFeed, feed
from tests.strict_cupy import counting, forbid_synchronisation

KEPT = np.random.default_rng(0).integers(0, 256, (23, 4, 3, 1), dtype=np.uint8)


def streamed(make=KEPT.__getitem__, shape=KEPT.shape[1:]):
    return StreamedImages(shape, make, range(len(KEPT)))


def batches(last="drop"):
    return Batches(len(KEPT), 5, seed=3, last=last)


@pytest.mark.parametrize("last", ["drop", "keep"])
@pytest.mark.parametrize("first", [0, 3, 1000])
def test_streamed_batches_are_those_of_the_images_kept(last, first, device):
    """From any batch on, as after a resume, and through the end of an epoch."""
    with feed(KEPT, batches(last), device) as kept, feed(streamed(), batches(last), device) as on_the_way:
        assert (type(kept), type(on_the_way)) == (Feed, StreamedFeed)
        for number in range(first, first + 12):
            expected = KEPT[batches(last).indices(number)]
            for pixels in (kept.batch(number), on_the_way.batch(number)):
                assert isinstance(pixels, device.xp.ndarray)
                assert np.array_equal(to_host(pixels), expected)


def test_images_kept_are_put_on_the_device_once_and_streamed_ones_a_batch_at_a_time(strict):
    with feed(streamed(), batches(), strict) as on_the_way, forbid_synchronisation(), counting() as counts:
        for number in range(6):
            on_the_way.batch(number)
    assert counts.uploads == 6


def test_the_next_batches_are_made_while_training_works_on_this_one():
    made = []

    def make(number):
        made.append(number)
        return KEPT[number]

    with feed(streamed(make), batches(), CPU) as on_the_way:
        on_the_way.batch(0)
        waiting_for = 5 * (1 + feeds.AHEAD)
        deadline = time.monotonic() + 60
        while len(made) < waiting_for and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(made) == waiting_for  # and not more: memory has an end
        later = {index for number in range(1, 1 + feeds.AHEAD) for index in batches().indices(number).tolist()}
        assert later <= {*made}


def test_large_batches_are_made_one_ahead(monkeypatch):
    monkeypatch.setattr(feeds, "AHEAD_BYTES", 2 * 5 * 12)
    assert StreamedFeed(streamed(), batches(), CPU)._ahead == 2
    monkeypatch.setattr(feeds, "AHEAD_BYTES", 1)
    assert StreamedFeed(streamed(), batches(), CPU)._ahead == 1


def test_no_thread_is_there_before_and_after():
    before = threading.active_count()
    on_the_way = feed(streamed(), batches(), CPU)
    assert threading.active_count() == before
    with on_the_way:
        on_the_way.batch(0)
        assert threading.active_count() > before
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_threads_end_and_what_is_not_begun_is_left_undone_after_an_error(error):
    before, made = threading.active_count(), []

    def slow(number):
        made.append(number)
        time.sleep(0.01)
        return KEPT[number]

    def train():
        with feed(streamed(slow), batches(), CPU) as on_the_way:
            on_the_way.batch(0)
            raise error

    with pytest.raises(error):
        train()
    assert threading.active_count() == before
    assert len(made) < 5 * (1 + feeds.AHEAD)


def test_what_is_wrong_with_an_image_comes_out_when_its_batch_is_asked_for():
    bad = int(batches().indices(2)[1])

    def make(number):
        if number == bad:
            raise DataError("gone")
        return KEPT[number]

    before = threading.active_count()
    with feed(streamed(make), batches(), CPU) as on_the_way:
        on_the_way.batch(0)
        on_the_way.batch(1)
        with pytest.raises(DataError, match="gone"):
            on_the_way.batch(2)
    assert threading.active_count() == before


@pytest.mark.parametrize("slow", ["images", "training"])
def test_waiting_is_told_once_with_its_share_and_only_if_there_was_any(monkeypatch, slow):
    monkeypatch.setattr(feeds, "PATIENCE", 0.2)

    def make(number):
        time.sleep(0.01 if slow == "images" else 0)
        return KEPT[number]

    told = []
    with feed(streamed(make), batches(), CPU) as on_the_way:
        for number in range(40):
            on_the_way.batch(number)
            told.append(on_the_way.complaint())
            time.sleep(0.01 if slow == "training" else 0)
    assert not any(told[:3])  # too early to say
    assert sum(map(bool, told)) == (slow == "images")
    if slow == "images":
        assert "% of the time for images to be decoded" in max(told)


def test_images_in_memory_never_wait():
    with feed(KEPT, batches(), CPU) as kept:
        kept.batch(0)
        assert kept.complaint() == ""
