"""run.engine=ray: actors of a Ray cluster write the batches; this process manages the run folder.

Ray starts the actors, places them, and reports their deaths. All state is in the run folder, so the same command continues
after the death of this process.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, Self

from magic_cli.errors import MagicError, install_extra
from magic_cli.runs.batches import Batch, BatchWriter
from magic_cli.runs.engines.host import Delivery, Host, Ready, Refusal
from magic_cli.runs.engines.pool import Death, WorkerPool

_SECONDS = 1.0
"""Seconds that ``events`` waits before it looks at the number of workers again: nodes come and go."""
_INSTALL = f"run.engine=ray needs the package ray; {install_extra('ray')}"


class RayEngine(WorkerPool):
    """One actor for each GPU of the cluster, or, without GPUs, one for as many cores as run.threads says."""

    setting = "run.engine=ray"

    def __init__(self, writer: BatchWriter, first: Any, run: Any) -> None:
        super().__init__(writer, first, run)
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, str] = {}

    def __enter__(self) -> Self:
        # Ray's usage statistics would access the network; a run of ours never does that
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise MagicError(_INSTALL) from error
        options = self.order.settings.run
        try:
            context = ray.init(
                address=options.address, dashboard_host="127.0.0.1", log_to_driver=False, logging_level=logging.ERROR
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            if options.address is None:
                raise MagicError(f"run.engine=ray: no cluster can be started here ({_reason(error)})") from error
            raise MagicError(
                f"run.address={options.address}: no Ray cluster answers ({' '.join(str(error).split())[:200]}); "
                "start one with `ray start --head`, or leave run.address out"
            ) from error
        self._ray = ray
        self._has_gpus = bool(ray.cluster_resources().get("GPU"))
        if context.dashboard_url:
            print(f"magic: Ray's dashboard: http://{context.dashboard_url}", file=sys.stderr)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if hasattr(self, "_ray"):
            self._ray.shutdown()

    def wanted(self) -> int:
        options = self.order.settings.run
        if options.actors is not None:
            return options.actors
        resources = self._ray.cluster_resources()
        if self._has_gpus:
            return max(1, int(resources.get("GPU", 0)))
        cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        if max(cores, default=0) < self._threads:
            raise MagicError(
                f"run.threads={self._threads}: no node of the cluster has that many cores (the largest has {max(cores, default=0)}); lower it"
            )
        return sum(number // self._threads for number in cores)

    def neighbours(self) -> int:
        if self._has_gpus:
            return 1
        cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        return max(1, min(self.wanted(), max(cores, default=1) // self._threads))

    @property
    def _threads(self) -> int:
        return self.order.settings.run.threads or 1

    def start(self, name: str) -> None:
        share = {"num_gpus": 1, "num_cpus": 0} if self._has_gpus else {"num_cpus": self._threads}
        options = {**share, "max_restarts": 0, "concurrency_groups": {"reading": 1}}
        remote = self._ray.remote(**options)(_Actor)  # type: ignore[call-overload]  # its types know no concurrency_groups
        self._actors[name] = remote.remote(self._threads)
        self.turn(name)

    def turn(self, name: str) -> None:
        self._pending[self._actors[name].load.remote(self.order)] = name

    def send(self, name: str, batch: Batch) -> None:
        actor = self._actors[name]
        actor.expect.options(concurrency_group="reading").remote(batch)
        self._pending[actor.write.remote(batch)] = name

    def events(self) -> Iterator[tuple[str, Ready | Delivery | Refusal | Death]]:
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=_SECONDS)
        for reference in done:
            name = self._pending.pop(reference)
            try:
                yield name, self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise MagicError(f"run.engine=ray: a worker failed ({_reason(error)})") from error
            except self._ray.exceptions.RayError as error:  # of the actor, its machine, or the transfer of its result
                self._forget(name)
                yield name, Death(_reason(error), is_machine=self._is_of_machine(error))

    def _is_of_machine(self, error: Exception) -> bool:
        """Whether an actor's whole machine is gone, so that its batches cannot be the cause."""
        kinds = (self._ray.exceptions.NodeDiedError, self._ray.exceptions.ObjectLostError)
        return isinstance(error, kinds) or "node has died" in str(error) or "node was terminated" in str(error)

    def _forget(self, name: str) -> None:
        self._actors.pop(name, None)
        self._pending = {reference: owner for reference, owner in self._pending.items() if owner != name}


class _Actor:
    """A ``Host`` as a Ray actor: one thread reads images, another writes batches."""

    def __init__(self, threads: int) -> None:
        self._host, self._threads = Host(), threads

    def load(self, order: Any) -> Any:
        order.settings.run.threads = order.settings.run.threads or self._threads
        return self._host.load(order)

    def expect(self, batch: Any) -> None:
        self._host.expect(batch)

    def write(self, batch: Any) -> Any:
        return self._host.write(batch)


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
