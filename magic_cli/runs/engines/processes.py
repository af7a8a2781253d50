"""run.devices: several processes of this machine write batches side by side, each on its own GPU or on its share of the cores."""

from __future__ import annotations

import copy
import math
import multiprocessing
import multiprocessing.connection
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, cast

from magic_cli.image_features.reading_process import end_with_parent
from magic_cli.models.control_groups import usable_cores
from magic_cli.runs.batches import Batch, BatchWriter
from magic_cli.runs.engines.host import Delivery, Host, Order, Ready, Refusal
from magic_cli.runs.engines.pool import Death, WorkerPool


class ProcessEngine(WorkerPool):
    """One process for each device. Processes are spawned, because CUDA cannot be used after a fork."""

    setting = "run.devices"

    def __init__(self, writer: BatchWriter, first: Any, run: Any) -> None:
        super().__init__(writer, first, run)
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[str, tuple[Any, Connection]] = {}
        self._devices: dict[str, int] = {}

    def wanted(self) -> int:
        return self.order.settings.run.devices

    def neighbours(self) -> int:
        import torch

        options = self.order.settings.run
        if options.device == "cpu" or not torch.cuda.is_available():
            return options.devices
        return math.ceil(options.devices / (torch.cuda.device_count() if options.device in ("auto", "cuda") else 1))

    def start(self, name: str) -> None:
        ours, theirs = self._context.Pipe()
        device = min(set(range(self.wanted())) - set(self._devices.values()))
        process = self._context.Process(target=_serve, args=(theirs, self.order, device), name=name, daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers ignore Ctrl-C from the start: it is for the main process
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()  # so that the main process notices when the worker ends
        self._workers[name], self._devices[name] = (process, ours), device

    def turn(self, name: str) -> None:
        self.send(name, self.order)

    def send(self, name: str, batch: Batch | Order) -> None:
        try:
            self._workers[name][1].send(batch)
        except OSError:  # the worker is dead; `events` will report it
            return

    def events(self) -> Iterator[tuple[str, Ready | Delivery | Refusal | Death]]:
        names = {connection: name for name, (_, connection) in self._workers.items()}
        for connection in cast(list[Connection], multiprocessing.connection.wait(list(names))):  # some of those that it was given
            name = names[connection]
            try:
                yield name, connection.recv()
            except (EOFError, OSError):
                yield name, self._end(name)

    def _end(self, name: str) -> Death:
        process, connection = self._workers.pop(name)
        del self._devices[name]
        connection.close()
        process.join()
        code = process.exitcode
        return Death(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for process, connection in self._workers.values():
            connection.close()
            process.terminate()
        for process, _ in self._workers.values():
            process.join()


def _serve(pipe: Connection, order: Order, number: int) -> None:
    """The body of a worker process: load the models, then write batches as they come, and load again when another order comes."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    host = Host()
    inbox: SimpleQueue[Batch | Order | None] = SimpleQueue()
    inbox.put(order)
    threading.Thread(target=_receive, args=(pipe, host, inbox), daemon=True).start()
    while (found := inbox.get()) is not None:
        if isinstance(found, Order):
            pipe.send(host.load(replace(found, settings=_own_share(found.settings, number))))
        else:
            pipe.send(host.write(found))


def _receive(pipe: Connection, host: Host, inbox: SimpleQueue[Batch | Order | None]) -> None:
    """Take batches from the pipe at once. If they stayed there, both ends could block for ever on a full pipe."""
    try:
        while True:
            found = pipe.recv()
            if isinstance(found, Batch):
                host.expect(found)
            inbox.put(found)
    except (EOFError, OSError):  # the main process has closed its end
        inbox.put(None)


def _own_share(settings: Any, number: int) -> Any:
    """The settings for one of several processes: its device and its share of the threads."""
    import torch

    own = copy.deepcopy(settings)
    if own.run.device in ("auto", "cuda") and (gpus := torch.cuda.device_count()):
        own.run.device = f"cuda:{number % gpus}"
    elif own.run.threads is None:
        share = usable_cores() // settings.run.devices
        own.run.threads = max(1, min(share, torch.get_num_threads()))  # less where OMP_NUM_THREADS says so
    return own
