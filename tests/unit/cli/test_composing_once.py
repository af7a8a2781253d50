"""A command's settings are composed once, from nodes of the schemas that it names."""

import copy
import pickle

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from magic_cli.cli.main import main
from magic_cli.configuration import composing
from magic_cli.configuration.schemas import LazySchemas
from magic_cli.decoding.magic import MagicSearch
from magic_cli.errors import SettingsError

SCHEMA = "schema/decoding/magic.yaml"


@pytest.fixture
def composed(monkeypatch):
    """The overrides of every composition from here on."""
    found, compose_config = [], Hydra.compose_config
    monkeypatch.setattr(
        Hydra, "compose_config", lambda self, *args, **options: (found.append(options), compose_config(self, *args, **options))[1]
    )
    return found


@pytest.mark.parametrize(("words", "times"), [([], 1), (["hydra.verbose=false"], 3), (["-m", "format=markdown"], None)])
def test_settings_are_composed_once_unless_hydra_itself_is_asked_for_something(words, times, composed, capsys):
    assert main(["table", "1", *words]) == 0
    assert "MAGIC" in capsys.readouterr().out
    assert len(composed) == times if times else len(composed) > 1


def test_one_run_says_the_same_whether_hydra_runs_it_or_not(capsys):
    said = []
    for words in ([], ["hydra.verbose=false"]):
        assert main(["table", "1", *words]) == 0
        said.append(capsys.readouterr())
    assert said[0] == said[1] and said[0].err == ""


def test_schemas_become_nodes_when_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(ConfigStore.instance(), "repo", {})
    composing.register()
    options = ConfigStore.instance().repo["schema"]["decoding"]
    assert dict(options.items())["magic.yaml"] is MagicSearch
    first, second = (ConfigStore.instance().load(SCHEMA).node for _ in range(2))
    assert isinstance(first, DictConfig) and first.clip_text_window == second.clip_text_window
    first.clip_text_window = 7
    assert (
        ConfigStore.instance().load(SCHEMA).node.clip_text_window == second.clip_text_window
    )  # what Hydra does to its copy stays there


def test_schemas_reach_other_processes(monkeypatch):
    monkeypatch.setattr(ConfigStore.instance(), "repo", {})
    composing.register()
    ConfigStore.instance().load(SCHEMA)
    stored = ConfigStore.instance().repo["schema"]
    assert copy.deepcopy(stored) is stored
    there = pickle.loads(pickle.dumps(stored))
    assert there["decoding"]["magic.yaml"].node == stored["decoding"]["magic.yaml"].node


def test_schema_that_was_stored_stays_when_it_is_stored_again(monkeypatch):
    monkeypatch.setattr(ConfigStore.instance(), "repo", {})
    LazySchemas().store(group="schema/decoding", name="magic", node=MagicSearch)
    node = ConfigStore.instance().repo["schema"]["decoding"]["magic.yaml"]
    composing.register()
    assert ConfigStore.instance().repo["schema"]["decoding"]["magic.yaml"] is node


def test_settings_that_were_checked_are_those_that_run(monkeypatch, capsys):
    monkeypatch.setattr(composing, "to_settings", lambda *_: (_ for _ in ()).throw(SettingsError("refused")))
    assert main(["table", "1"]) == 2
    assert capsys.readouterr().err == "magic: refused\n"
