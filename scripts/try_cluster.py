"""Caption photos on a Ray cluster of three nodes on this machine while actors, a node and the driver are killed.

    python scripts/try_cluster.py --settings dataset=coco_captions dataset.annotations=photos.json dataset.root=photos

What comes out must be what a run in one process writes, byte for byte. An actor is killed every --every seconds, a node
once, and the driver --drivers times, after which the same command is started again. Prints what was killed and whether
the files are the same.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

FILES = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json")
RUN = "ray"


def command(settings: list[str], folder: Path) -> list[str]:
    """What starts a run, or goes on with it."""
    return [sys.executable, "-m", "magic_cli", "caption", *settings, f"run.dir={folder}", "run.threads=1"]


def actors() -> list[int]:
    """Processes of actors that hold models."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::_Actor"):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended
    return found


def count(file: Path) -> int:
    """Lines of a file; 0 if it is not there."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


class Trouble:
    """What is killed when."""

    def __init__(self, cluster: object, nodes: list[object], arguments: argparse.Namespace) -> None:
        self.cluster, self.nodes, self.every, self.drivers = cluster, nodes, arguments.every, arguments.drivers
        self.driver_every = arguments.driver_every or arguments.every
        self.random = random.Random(arguments.seed)
        self.killed = {"actors": 0, "nodes": 0, "drivers": 0}
        self.next_actor = time.monotonic() + self.every
        self.next_driver = self.driver_time()

    def driver_time(self) -> float:
        """When the driver is killed next, at the earliest."""
        return time.monotonic() + self.random.uniform(0.5, 1.5) * self.driver_every

    def make(self, driver: subprocess.Popen, done: int) -> None:
        """Kill what is due; ``done`` texts are written."""
        now = time.monotonic()
        if now >= self.next_actor and (alive := actors()):
            os.kill(self.random.choice(alive), signal.SIGKILL)
            self.killed["actors"] += 1
            self.next_actor = now + self.every
        if not self.killed["nodes"] and done > 50:
            self.cluster.remove_node(self.nodes[-1], allow_graceful=False)
            self.killed["nodes"] += 1
        if self.killed["drivers"] < self.drivers and now >= self.next_driver and done:
            driver.kill()
            self.killed["drivers"] += 1
            self.next_driver = self.driver_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", required=True, help="which photos, and how they are captioned")
    parser.add_argument("--folder", type=Path, default=Path("cluster"), help="where both runs are written")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two kills of actors")
    parser.add_argument("--drivers", type=int, default=10, help="kills of the driver")
    parser.add_argument(
        "--driver-every",
        type=float,
        help="seconds between two kills of the driver, half as many to half as many more; default: --every",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import ray  # noqa: F401 - says at once that it is missing
    from ray.cluster_utils import Cluster

    local, folder = arguments.folder / "local", arguments.folder / RUN
    shutil.rmtree(folder, ignore_errors=True)
    start = time.monotonic()
    subprocess.run(command(arguments.settings, local), stdout=subprocess.DEVNULL, check=True)
    print(f"one process: {count(local / FILES[0])} texts, {time.monotonic() - start:.0f} s", flush=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "dashboard_host": "127.0.0.1"})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        trouble = Trouble(cluster, nodes, arguments)
        words = [*command(arguments.settings, folder), "run.engine=ray", f"run.address={cluster.address}"]
        start, status = time.monotonic(), None
        while status != 0:
            driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while driver.poll() is None:
                time.sleep(0.2)
                trouble.make(driver, count(folder / FILES[0]))
            status = driver.returncode
            if status > 0:
                sys.exit(f"the driver ended with {status}: {driver.stderr.read()}")
        print(
            f"cluster: {count(folder / FILES[0])} texts, {time.monotonic() - start:.0f} s; killed: {trouble.killed}", flush=True
        )
    finally:
        cluster.shutdown()
    others = [name for name in FILES if (local / name).read_bytes() != (folder / name).read_bytes()]
    print("files differ: " + ", ".join(others) if others else "all files are the same, byte for byte")
    sys.exit(bool(others))


if __name__ == "__main__":
    main()
