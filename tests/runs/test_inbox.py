"""Numbers from the host in places that never change: the same ones, and none overwritten too early."""

from itertools import pairwise

import numpy as np
import pytest

from minigan.data.batches import Batches
from minigan.randomness import Purpose, stream
from minigan.recipes import MLPMnist
from minigan.runs.draws import HostDraws, SeededDraws
from minigan.runs.feed import feed
from minigan.runs.inbox import AHEAD, ALIGNMENT, AT_ONCE, Inbox, InboxDraws, Item
from tests.strict_cupy import counting

F4 = np.dtype("float32")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 1), dtype=np.uint8)
RECIPE = MLPMnist(batch_size=4, latent=3, flip=True, jitter=0.3)


@pytest.fixture
def draws(strict):
    there = feed(IMAGES, Batches(len(IMAGES), 4, 0), strict)
    return lambda step: SeededDraws(RECIPE, there, 0, step, 1, F4)


def asked(source):
    """Everything that a round may ask for, on the host; masks of two steps in turns."""
    first, second = source.dropout(0), source.dropout(1)
    masks = [rng.random(shape, dtype=np.float32) for rng, shape in
             [(first, (3, 5)), (second, (7,)), (first, (2, 1, 1)), (first, (1,))]]  # fmt: skip
    arrays = [source.real(0), source.latent_d(0), source.latent_g(), *masks]
    return [array if isinstance(array, np.ndarray) else array.get() for array in arrays]


def from_inbox(draws, inbox, step):
    return InboxDraws(**vars(draws(step)), inbox=inbox)


@pytest.fixture
def inbox(draws, strict):
    """Settled after round 5."""
    inbox = Inbox(strict, F4)
    inbox.learn(draws(5))
    asked(from_inbox(draws, inbox, 5))
    inbox.take_coefficients((0.5, 0.25)), inbox.take_coefficients((2.0,))
    inbox.settle(draws)
    yield inbox
    inbox.close()


anywhere_in_a_group = pytest.mark.parametrize("first", range(6, 6 + AT_ONCE))


@anywhere_in_a_group
def test_a_round_finds_the_numbers_that_it_would_draw(draws, inbox, first):
    for step in range(first, first + 3 * AHEAD):
        with counting() as counts:
            inbox.deliver(step, (step, 0.1, 1e-3))
        assert (counts.waits, counts.copies) == ([], ["set"])
        found = asked(from_inbox(draws, inbox, step))
        expected = asked(draws(step))
        assert [array.dtype for array in found] == [array.dtype for array in expected]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        numbers = [*inbox.take_coefficients((0, 0)), *inbox.take_coefficients((0,))]
        assert [number.shape for number in numbers] == [()] * 3
        assert [float(number) for number in numbers] == [step, np.float32(0.1), np.float32(1e-3)]


def test_while_it_learns_it_gives_the_numbers_of_that_round(draws, strict):
    inbox = Inbox(strict, F4)
    inbox.learn(draws(3))
    found = asked(from_inbox(draws, inbox, 3))
    assert all(np.array_equal(a, b) for a, b in zip(found, asked(draws(3)), strict=True))
    assert [float(number) for number in inbox.take_coefficients((0.5, 0.25))] == [0.5, 0.25]
    inbox.close()


def test_places_do_not_overlap_and_are_aligned_as_cudas_own(inbox):
    spans = sorted(
        (place.start, place.start + int(np.prod(place.shape)) * place.dtype.itemsize)
        for place in [*inbox._places.values(), inbox._at_end]
    )
    assert all(start % ALIGNMENT == 0 for start, _ in spans)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
    assert spans[-1][1] <= inbox._size


@anywhere_in_a_group
def test_host_memory_is_not_overwritten_before_the_device_has_copied_it(inbox, monkeypatch, first):
    early, draw = [], Item.draw

    def careful(self, host):
        if not inbox._parcels[host.step % AHEAD].copied.waited:
            early.append(host.step)
        return draw(self, host)

    monkeypatch.setattr(Item, "draw", careful)
    for step in range(first, first + 3 * AHEAD):
        inbox.deliver(step, (0, 0, 0))
        assert not inbox._parcels[step % AHEAD].copied.waited
    assert early == []


def test_what_was_not_asked_for_in_the_learnt_round_has_no_place(draws, inbox):
    inbox.deliver(6, (0, 0, 0))
    with pytest.raises(KeyError):
        inbox.take(Item(HostDraws.z_d, 1))
    with pytest.raises(TypeError, match="float64"):
        from_inbox(draws, inbox, 6).dropout(0).random((3, 5), dtype=np.float64)


def test_an_error_of_a_thread_is_that_of_the_round(inbox, monkeypatch):
    def fails(_self, _host):
        raise MemoryError("no room")

    monkeypatch.setattr(Item, "draw", fails)
    with pytest.raises(MemoryError, match="no room"):
        inbox.deliver(6, (0, 0, 0))


def test_an_error_in_a_later_group_is_that_of_its_first_round(inbox, monkeypatch):
    fatal, draw = 2 * AT_ONCE + 1, Item.draw

    def fails(self, host):
        if host.step == fatal:
            raise MemoryError("no room")
        return draw(self, host)

    monkeypatch.setattr(Item, "draw", fails)
    for step in range(6, 2 * AT_ONCE):
        inbox.deliver(step, (0, 0, 0))
    with pytest.raises(MemoryError, match="no room"):
        inbox.deliver(2 * AT_ONCE, (0, 0, 0))


def test_of_masks_the_state_is_delivered_and_nothing_else(inbox):
    masks = {item.k: place for item, place in inbox._places.items() if item.method == HostDraws.state_of_masks}
    assert {k: (place.shape, place.dtype) for k, place in masks.items()} == dict.fromkeys((0, 1), ((4,), np.uint64))


def test_masks_in_pieces_are_those_of_the_generator(draws):
    """Half of a 64-bit number is kept for the next call."""
    whole = stream(0, Purpose.DROPOUT, 9, 0).random(23, dtype=np.float32)
    rng = draws(9).dropout(0)
    assert np.array_equal(np.concatenate([rng.random(n, dtype=np.float32) for n in (1, 2, 5, 15)]), whole)
