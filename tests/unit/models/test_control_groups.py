"""What a process may use by its control groups; and how many threads libraries then start."""

import os

import pytest

from magic_cli.models import control_groups
from magic_cli.models.threads import threads_to_start

SLURM = "job_7/step_0/user"
GROUPS = [
    ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
    ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
    ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
    ("0::/\n", {"cpu.max": "9000000 100000\n"}, 64),
    (f"0::/{SLURM}\n", {f"{SLURM}/cpu.max": "max 100000\n", "job_7/cpu.max": "300000 100000\n"}, 3),
    ("0::/the/path/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4),
    ("4:memory:/a\n1:cpu:/a b\n0::/\n", {"cpu/a b/cpu.cfs_quota_us": "500000\n", "cpu/a b/cpu.cfs_period_us": "100000\n"}, 5),
    ("1:cpu,cpuacct:/x\n", {"cpu,cpuacct/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/cpu.cfs_period_us": "50000\n"}, 4),
    ("4:cpuacct,cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 3),
    ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ("1:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000\n"}, 64),  # its period is not shown here
    ("3:cpuset:/\n", {}, 64),
    (None, {}, 64),
]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Puts this process into control groups of a machine with 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(control_groups, "_ALL_GROUPS", tmp_path / "all")

    def put(own, files):
        for name, text in {"own": own, **{f"all/{name}": text for name, text in files.items()}}.items():
            if text is not None:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(text)

    return put


@pytest.mark.parametrize(("own", "files", "expected"), GROUPS)
def test_cores_are_those_that_the_quota_leaves(own, files, expected, machine):
    machine(own, files)
    assert control_groups.usable_cores() == expected


@pytest.mark.parametrize(
    ("quota", "chosen", "wanted", "expected"),
    [("200000 100000", {}, None, 2), ("max 100000", {}, None, 8), ("1200000 100000", {}, None, 8), ("200000 100000", {}, 5, 5),
     ("200000 100000", {"OMP_NUM_THREADS": "8"}, None, 8), ("200000 100000", {"MKL_NUM_THREADS": "8"}, None, 8),
     ("200000 100000", {"OMP_THREAD_LIMIT": "8"}, None, 2)],
)  # fmt: skip
def test_threads_are_as_many_as_the_quota_allows_unless_the_user_has_chosen(
    quota, chosen, wanted, expected, machine, monkeypatch
):
    machine("0::/\n", {"cpu.max": quota})
    monkeypatch.setattr(os, "environ", dict(chosen))
    assert threads_to_start(wanted, usual=8) == expected


def test_memory_is_limited_by_every_group_above(machine):
    deep, top = {"memory.max": "8000", "memory.current": "1000"}, {"memory.max": "max", "memory.current": "5000"}
    groups = {"job_7/step_0": deep, "job_7": {"memory.max": "6000", "memory.current": "3000"}, ".": top}
    machine("0::/job_7/step_0\n", {f"{group}/{name}": text for group, files in groups.items() for name, text in files.items()})
    assert list(control_groups.memory_limits()) == [(8000, 1000), (6000, 3000)]


def test_memory_is_limited_by_groups_of_the_first_version(machine):
    machine("3:cpu:/a\n2:memory:/a\n", {"memory/memory.limit_in_bytes": "700\n", "memory/memory.usage_in_bytes": "300\n"})
    assert list(control_groups.memory_limits()) == [(700, 300)]


def test_limit_whose_use_is_not_shown_here_is_passed_over(machine):
    machine("0::/a\n", {"a/memory.max": "8000", "memory.max": "9000", "memory.current": "4000"})
    assert list(control_groups.memory_limits()) == [(9000, 4000)]
