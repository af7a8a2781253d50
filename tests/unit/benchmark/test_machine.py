import pytest

from magic_cli.benchmark import machine


@pytest.mark.parametrize(
    ("policy", "is_told"), [(None, False), ("passive", False), ("PASSIVE", False), ("active", True), ("ACTIVE", True)]
)
def test_spinning_threads_are_told_only_when_the_user_has_asked_for_them(monkeypatch, policy, is_told):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    told = []

    machine.warn_if_busy(told.append)

    assert told == [line for line in told if line.startswith(f"OMP_WAIT_POLICY={policy}: ") and line.endswith("; unset it")]
    assert len(told) == is_told


def test_a_busy_machine_is_told_with_its_load(monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.75, 0.0, 0.0))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told = []

    machine.warn_if_busy(told.append)

    assert told == ["the machine is busy (load 1.75): times will be too long; wait until it is idle"]
