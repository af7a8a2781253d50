"""Batches go out and come back whatever dies: every item exactly once, poisonous items found, innocent ones written."""

import random
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from magic_cli.errors import MagicError
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batches import Batch, BatchResult
from magic_cli.runs.caption_bank import Piece
from magic_cli.runs.engines.dispatch import AT_ONCE, MOST_WAITING, Dispatcher
from magic_cli.runs.engines.host import Delivery, Host, Order, Ready, Refusal
from magic_cli.runs.engines.pool import Death, WorkerPool
from magic_cli.runs.engines.processes import ProcessEngine


def item(name):
    return SimpleNamespace(id=name)


def batches_of(number, size):
    names = [f"item-{n}" for n in range(number)]
    return [Batch(i, tuple(map(item, names[start : start + size]))) for i, start in enumerate(range(0, number, size))]


class Run:
    """Stands for a run folder."""

    def __init__(self):
        self.models, self.facts = None, {}

    def use_models(self, models):
        self.models = models

    def record(self, **facts):
        self.facts |= facts


class Writer:
    """Says what failed, and writes nothing: a pool's workers do."""

    def __init__(self, settings=None, task=None, folder=Path()):
        self.settings, self.task, self.folder = settings, task, folder

    def failures(self, items, reasons, done):
        return [{"id": one.id, "reason": str(reason)} for one, reason in zip(items, reasons, strict=True)]


class Pool(WorkerPool):
    """Workers that are lists, in an order and with deaths that a seed decides."""

    setting = "run.devices"

    def __init__(self, *, workers, poison=(), deaths=0.0, machines=0.0, stillborn=0, seed=0):
        super().__init__(Writer(), item("first"), Run())
        self.workers, self.poison, self.deaths, self.machines = workers, set(poison), deaths, machines
        self.stillborn = stillborn
        self.random, self.queues, self.counts = random.Random(seed), {}, Counter()

    def wanted(self):
        return self.workers

    def neighbours(self):
        return self.workers

    def start(self, name):
        self.queues[name] = deque([None])

    def turn(self, name):
        self.queues[name].append(None)

    def send(self, name, batch):
        self.queues[name].append(batch)

    def events(self):
        name = self.random.choice([name for name, queue in self.queues.items() if queue])
        batch = self.queues[name].popleft()
        if batch is None:
            if self.stillborn:
                self.stillborn -= 1
                del self.queues[name]
                yield name, Death("killed")
                return
            wish = self.order.size_wish
            found = wish and {"chosen": wish.most, "neighbours": wish.neighbours}
            yield name, Ready({"language_model": {"source": "x", "files": {"a": "1"}}}, {"device": "cpu"}, found)
            return
        kills = any(one.id in self.poison for one in batch.items)
        is_machine = self.random.random() < self.machines
        if kills or is_machine or self.random.random() < self.deaths:
            del self.queues[name]
            yield name, Death("killed", is_machine=is_machine and not kills)
            return
        self.counts[name] += len(batch.items)
        result = BatchResult(batch.number, predictions=[{"id": one.id} for one in batch.items])
        yield name, Delivery(result, {"texts": self.counts[name]}, {"text": 1.0})


@pytest.mark.parametrize("seed", range(20))
def test_every_item_comes_once_whoever_dies(seed):
    pool = Pool(workers=3, deaths=0.15, machines=0.1, seed=seed)
    results = list(pool.results(batches_of(40, 4)))
    assert sorted(result.number for result in results) == list(range(10))
    ids = [record["id"] for result in results for record in [*result.predictions, *result.failures]]
    assert sorted(ids) == sorted(f"item-{n}" for n in range(40))


@pytest.mark.parametrize("stillborn", [0, 2])
def test_first_worker_that_is_ready_finds_the_size_of_batches_for_all(stillborn):
    pool = Pool(workers=3, stillborn=stillborn)
    found = pool.batch_size(40, None)
    assert found == {"chosen": 7, "neighbours": 3}, "each of three workers gets two batches or more"
    assert pool.order.size_wish is None, "the others need not look"
    assert len(pool.queues) == 1
    assert sorted(result.number for result in pool.results(batches_of(40, 7))) == list(range(6))


@pytest.mark.parametrize("seed", range(20))
def test_workers_go_from_one_order_to_the_next_whoever_dies(seed):
    pool = Pool(workers=3, deaths=0.15, machines=0.1, seed=seed)
    started = []
    start, pool.start = pool.start, lambda name: (started.append(name), start(name))
    for number in range(3):
        run = Run()
        pool.turn_to(replace(pool.order, directory=Path(str(number))), run)
        if number != 1:
            pool.get_ready()
            assert run.models and len(pool._ready) == 1, "one has the order, and the others wait"
        assert sorted(result.number for result in pool.results(batches_of(12 * number, 2))) == list(range(6 * number))
        assert len(pool._alive) <= 3 and pool._idle.isdisjoint(pool._at_work)
    pool = Pool(workers=2, seed=seed)
    for _ in range(3):
        pool.turn_to(pool.order, Run())
        list(pool.results(batches_of(20, 2)))
    assert pool._number == 2, "nobody who lives is replaced"


@pytest.mark.parametrize("seed", range(10))
def test_only_what_kills_alone_is_a_failure(seed, capsys):
    pool = Pool(workers=2, poison=["item-5", "item-13"], seed=seed)
    results = list(pool.results(batches_of(20, 4)))
    assert {record["id"] for result in results for record in result.failures} == {"item-5", "item-13"}
    assert sum(len(result.predictions) for result in results) == 18
    assert "another worker writes its batches" in capsys.readouterr().err


def test_item_that_kills_is_described_by_the_writer_of_its_order():
    class OfOtherItems(Writer):
        def failures(self, items, reasons, done):
            return [{"number": one.number, "reason": str(reason)} for one, reason in zip(items, reasons, strict=True)]

    pool = Pool(workers=1, poison=["captions"])
    pool.turn_to(replace(pool.order, writer=OfOtherItems), Run())
    [result] = pool.results([Batch(0, (SimpleNamespace(id="captions", number=7),))])
    [failure] = result.failures
    assert failure["number"] == 7 and "ended three workers" in failure["reason"]


def test_machine_that_is_lost_accuses_no_item():
    dispatcher = Dispatcher(batches_of(4, 4))
    for number in range(20):
        assert dispatcher.give(f"worker-{number}").batch.number == 0
        dispatcher.give_back(f"worker-{number}")
    assert dispatcher.give("last").is_alone is False


@pytest.mark.parametrize("seed", range(10))
def test_results_come_in_the_order_of_the_batches_whoever_dies(seed):
    pool = Pool(workers=3, poison=["item-13"], deaths=0.15, machines=0.1, seed=seed)
    batches = [batch for batch in batches_of(60, 4) if batch.number != 2]  # a run that goes on
    assert [result.number for result in pool.results(batches, in_order=True)] == [batch.number for batch in batches]


def test_few_results_wait_for_a_slow_worker():
    dispatcher = Dispatcher(batches_of(1000, 1), in_order=True)
    slow = dispatcher.give("slow")
    finished = 0
    while (piece := dispatcher.give("fast")) is not None:
        assert dispatcher.release(dispatcher.take("fast", piece, BatchResult(piece.batch.number))) == []
        finished += 1
    assert finished == MOST_WAITING and dispatcher.size == 1000 - finished
    again = [slow.batch.number]
    dispatcher.lose("slow", lambda batch: pytest.fail("nobody is guilty yet"))
    assert [dispatcher.give("fast").batch.number] == again, "what the others wait for is written even now"
    [piece] = dispatcher.held("fast")
    released = dispatcher.release(dispatcher.take("fast", piece, BatchResult(0)))
    assert [result.number for result in released] == list(range(1 + MOST_WAITING))
    assert [dispatcher.give("fast").batch.number for _ in range(AT_ONCE)] == [1 + MOST_WAITING, 2 + MOST_WAITING]


def test_item_that_is_run_alone_has_its_worker_for_itself():
    dispatcher = Dispatcher(batches_of(8, 4))
    for number in range(2):
        assert dispatcher.give(f"worker-{number}").batch.number == 0
        dispatcher.lose(f"worker-{number}", lambda batch: pytest.fail("nobody is guilty yet"))
    pieces = [dispatcher.give("a"), dispatcher.give("b"), dispatcher.give("a")]
    assert [piece and [one.id for one in piece.batch.items] for piece in pieces] == [["item-0"], ["item-1"], None]


def test_worker_with_other_models_is_refused():
    pool = Pool(workers=1)
    pool._at_work = {"worker-1", "worker-2"}
    pool._welcome("worker-1", Ready({"language_model": {"files": {"a": "1"}}}, {}))
    with pytest.raises(MagicError, match="other model files"):
        pool._welcome("worker-2", Ready({"language_model": {"files": {"a": "2"}}}, {}))


def test_fault_of_a_worker_is_the_run_s():
    pool = Pool(workers=1)
    pool.events = lambda: iter([("worker-1", Refusal("no such model"))])
    with pytest.raises(MagicError, match="no such model"):
        list(pool.results(batches_of(1, 1)))


def test_workers_that_never_live_end_the_run():
    pool = Pool(workers=2)
    pool.events = lambda: iter([(sorted(pool.queues)[-1], Death("signal SIGKILL"))])
    with pytest.raises(MagicError, match="3 workers in a row ended before they were ready"):
        list(pool.results(batches_of(4, 2)))


def test_work_of_all_workers_adds_up():
    pool = Pool(workers=2)
    list(pool.results(batches_of(8, 2)))
    assert pool.work()[0] == {"texts": 8}


class EndlessReaders:
    """A batch writer of large batches and results."""

    def __init__(self, settings, task, folder):
        self.work, self.reader = WorkCounter(), None

    def load(self, facts, first):
        facts.use_models({})

    def images(self, batch):
        return []

    def write(self, batch, images):
        if batch.items[0].id == "fault":
            raise ValueError("of its own")
        return BatchResult(batch.number, predictions=[{"id": one.id, "text": "x" * 3_000_000} for one in batch.items])


class ReadsPaths(EndlessReaders):
    """A batch writer that says what was read for it."""

    def __init__(self, settings, task, folder):
        self.work, self.reader = WorkCounter(), SimpleNamespace(read=str.upper)

    def images(self, batch):
        return [one.path for one in batch.items]

    def write(self, batch, images):
        return BatchResult(batch.number, predictions=images)


def test_captions_that_come_late_are_not_taken_for_images():
    host = Host()
    host.load(Order(ReadsPaths, SimpleNamespace(run=None), None, Path(), item("first"), Path.cwd()))
    host.expect(Batch(3, (Piece("3", ["a dog"]),)))  # of the order before
    delivery = host.write(Batch(3, (SimpleNamespace(id="3", path="photo"),)))
    assert delivery.result.predictions == ["PHOTO"]


def process_pool(first="a", devices=1):
    settings = SimpleNamespace(run=SimpleNamespace(devices=devices, device="cpu", threads=1, batch_size=1))
    engine = ProcessEngine(Writer(settings), item(first), Run())
    engine.order = replace(engine.order, writer=EndlessReaders)
    return engine


@pytest.mark.slow
def test_large_batches_and_results_pass_one_another():
    with process_pool() as engine:
        batches = [Batch(number, (SimpleNamespace(id=f"{number}", padding="y" * 3_000_000),)) for number in range(6)]
        assert [result.number for result in engine.results(batches)] == list(range(6))


@pytest.mark.slow
def test_fault_of_the_program_ends_the_run_and_accuses_no_item():
    with process_pool() as engine, pytest.raises(MagicError, match=r"a worker failed \(ValueError: of its own\)"):
        list(engine.results([Batch(0, (item("fault"),))]))
