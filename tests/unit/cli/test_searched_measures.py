"""Which direction a search may go, by its measure."""

from types import SimpleNamespace

import pytest

from magic_cli.cli.sweeps import check_objective
from magic_cli.errors import SettingsError


def settings(measure):
    return SimpleNamespace(run=SimpleNamespace(objective=measure))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_search_may_go_either_way_where_neither_side_is_better(direction):
    check_objective(settings("mean_length"), {"direction": direction})


def test_search_goes_the_way_that_is_better():
    check_objective(settings("rep_2"), {"direction": "minimize"})
    with pytest.raises(SettingsError, match=r"a lower rep_2 is better; set hydra\.sweeper\.direction=minimize"):
        check_objective(settings("rep_2"), {"direction": "maximize"})
