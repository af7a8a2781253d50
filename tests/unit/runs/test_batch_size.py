"""run.batch_size=auto: the largest batch that fits is found."""

import json
from dataclasses import replace

import pytest

from magic_cli.errors import SettingsError
from magic_cli.models.memory import CudaMemory, MachineMemory
from magic_cli.runs.batch_size import SizeWish, choose_batch_size, largest_batch
from magic_cli.runs.settings import RunSettings

MIB = 1 << 20


class Device:
    """Memory of which a batch takes a fixed part, and each text the same; what does not fit is tried in vain."""

    def __init__(self, room, fixed, each):
        self.room, self.fixed, self.each = room, fixed, each
        self.needed, self.tried = {}, []

    def fits(self, size):
        self.tried.append(size)
        if self.fixed + size * self.each > self.room:
            return False
        self.needed[size] = self.fixed + size * self.each
        return True

    def largest(self, most=256, *, allowed=None, is_cheap=True):
        return largest_batch(self.fits, self.needed, self.room if allowed is None else allowed, most, is_cheap=is_cheap)


@pytest.mark.parametrize("is_cheap", [True, False])
@pytest.mark.parametrize(("room", "fixed", "each"), [(1000, 100, 9), (1000, 0, 10), (77, 5, 8), (10_000, 1, 1)])
def test_largest_batch_is_all_that_fits_when_each_text_takes_the_same(room, fixed, each, is_cheap):
    assert Device(room, fixed, each).largest(is_cheap=is_cheap) == min(256, (room - fixed) // each)


def test_large_batch_is_tried_only_where_that_is_cheap():
    for is_cheap, tried in ((True, [2, 8, 100]), (False, [2, 8])):
        device = Device(1000, 0, 10)
        assert device.largest(is_cheap=is_cheap) == 100
        assert device.tried == tried


def test_smaller_batches_are_tried_when_memory_runs_out_earlier_than_reckoned():
    device = Device(500, 0, 10)
    assert device.largest(allowed=1000) == 42  # 100, 75 and 56 do not fit
    assert device.tried == [2, 8, 100, 75, 56, 42]


@pytest.mark.parametrize(("room", "largest"), [(79, 6), (25, 2), (15, 1), (5, 1)])
def test_even_eight_texts_may_be_too_many(room, largest):
    assert Device(room, 0, 10).largest() == largest


def test_no_more_texts_are_wanted_than_there_are():
    device = Device(1000, 0, 10)
    assert device.largest(5) == 5
    assert device.tried == [2, 5]


def test_memory_of_a_trial_is_measured(device):
    import torch

    meter = CudaMemory(torch.device("cuda")) if device == "cuda" else MachineMemory()
    for size in (64 * MIB, 256 * MIB):
        assert (
            size - 2 * MIB <= meter.peak(lambda size=size: torch.ones(size, dtype=torch.uint8, device=device)) <= size + 40 * MIB
        )
    assert 0 < meter.available() < 1 << 50


@pytest.mark.gpu
def test_trial_that_runs_out_of_memory_is_given_up():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    meter, size = CudaMemory(torch.device("cuda")), torch.cuda.mem_get_info()[1] * 2
    assert meter.peak(lambda: torch.ones(size, dtype=torch.uint8, device="cuda")) is None
    assert meter.peak(lambda: torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")) >= 64 * MIB


def test_batch_is_chosen_by_what_trials_take(device):
    import torch

    def trial(number):
        torch.ones(number * 16 * MIB, dtype=torch.uint8, device=device)

    found = choose_batch_size(SizeWish(10_000, neighbours=4), torch.device(device), trial)
    fitting = found["bytes_allowed"] // (16 * MIB)
    assert min(fitting * 0.8, {"cuda": 256, "cpu": 64}[device]) <= found["chosen"] <= max(1, fitting * 1.1)
    assert {"2", "8"} <= found["bytes_needed"].keys()


class Card:
    """Memory of 1,000 bytes that several workers share, each with models of 100 bytes; a text takes 10."""

    def __init__(self, of_others=0):
        self.free, self.taken = 1000 - 100 - of_others, {}

    def place(self):
        return {"name": "card", "bytes_in_all": 1000}

    def available(self):
        return self.free

    def own(self):
        return 100

    def peak(self, work):
        return 10 * work()


@pytest.mark.parametrize("of_others", [0, 250, 800])
@pytest.mark.parametrize("neighbours", [1, 2, 4, 8])
def test_models_that_neighbours_load_later_find_room(neighbours, of_others, monkeypatch):
    import torch

    monkeypatch.setattr("magic_cli.models.memory.MachineMemory", lambda: Card(of_others))
    found = choose_batch_size(SizeWish(10_000, neighbours=neighbours), torch.device("cpu"), lambda number: number)
    room = 1000 - of_others - neighbours * 100
    assert found["chosen"] == 1 or neighbours * found["chosen"] * 10 <= room
    assert found["bytes_allowed"] == max(0, (900 - of_others) // 2 - (neighbours - 1) * 100) // neighbours


def test_memory_of_a_process_of_its_own_grows_with_its_models(device):
    import torch

    meter = CudaMemory(torch.device("cuda")) if device == "cuda" else MachineMemory()
    before = meter.own()
    models = torch.ones(256 * MIB, dtype=torch.uint8, device=device)
    assert 250 * MIB <= meter.own() - before <= 260 * MIB and len(models)


def test_number_of_an_earlier_start_holds_where_all_else_is_as_it_was():
    import torch

    cpu, tried = torch.device("cpu"), []
    wish = SizeWish(3, neighbours=2, options={"trace": False})
    known = choose_batch_size(wish, cpu, tried.append)
    assert known["chosen"] == 3 and tried == [1, 2, 3]
    assert choose_batch_size(replace(wish, known=json.loads(json.dumps(known))), cpu, tried.append) == known
    assert tried == [1, 2, 3]
    others = {"device": "cuda", "name": "H100", "bytes_in_all": 1, "neighbours": 1, "most": 2, "trace": True}
    for name, value in others.items():
        tried.clear()
        choose_batch_size(replace(wish, known=known | {name: value}), cpu, tried.append)
        assert tried == [1, 2, 3], name
    tried.clear()
    of_earlier_release = {"chosen": 7, "device": "cpu", "bytes_needed": {}}
    assert choose_batch_size(replace(wish, known=of_earlier_release), cpu, tried.append)["chosen"] == 3 and tried


@pytest.mark.parametrize("value", ["hot", "", "8", 0, 65_537])
def test_other_words_and_numbers_are_refused(value):
    with pytest.raises(SettingsError, match=r"^run\.batch_size must be"):
        RunSettings(batch_size=value)
