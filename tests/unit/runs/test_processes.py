"""The processes of `run.devices`: what each of them may use."""

from types import SimpleNamespace

import pytest

from magic_cli.runs.engines import processes


@pytest.mark.parametrize(("cores", "allowed", "expected"), [(8, 8, 4), (8, 3, 3), (1, 1, 1)])
def test_each_process_takes_its_share_of_the_cores_unless_the_user_allows_less(cores, allowed, expected, monkeypatch):
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    monkeypatch.setattr("torch.get_num_threads", lambda: allowed)  # as OMP_NUM_THREADS says
    settings = SimpleNamespace(run=SimpleNamespace(device="cpu", threads=None, devices=2))
    assert processes._own_share(settings, 1).run.threads == expected
    settings.run.threads = 6
    assert processes._own_share(settings, 1).run.threads == 6
