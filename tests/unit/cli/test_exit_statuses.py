"""Statuses of a sweep's points arrive from other processes, and leave no file behind."""

import pickle

from magic_cli.cli.exit_statuses import ExitStatuses


def test_worst_status_counts_when_points_run_in_other_processes(tmp_path):
    root = tmp_path / "runs" / ".sweeps"
    statuses = ExitStatuses(root)
    elsewhere = pickle.loads(pickle.dumps(statuses))  # what a launcher does
    for status in (0, 3, 0):
        elsewhere.add(status)
    assert statuses.worst() == 3
    statuses.close()
    assert not (tmp_path / "runs").exists(), "folders that were made for it are gone"


def test_folder_with_other_files_stays(tmp_path):
    root = tmp_path / "runs" / ".sweeps"
    statuses = ExitStatuses(root)
    (tmp_path / "runs" / "caption").mkdir()
    statuses.close()
    assert [place.name for place in (tmp_path / "runs").iterdir()] == ["caption"]


def test_statuses_are_kept_in_memory_when_all_points_run_here():
    statuses = ExitStatuses(None)
    assert statuses.worst() == 0
    statuses.add(2)
    assert statuses.worst() == 2
    statuses.close()
