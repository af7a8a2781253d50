"""Stores settings classes for Hydra. Each becomes a node only when a config names it.

There are about fifty classes, and a command uses ten. Hydra would make a node of each when it is stored, and copy the whole
store whenever it composes. That took longer than everything else before a model loads.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf


class LazySchemas:
    """Puts settings classes into Hydra's store, as ``ConfigStore.store`` does, but without making nodes."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = ConfigStore.instance().repo

    def store(self, *, group: str, name: str, node: Any) -> None:
        """Store a settings class, or an object of one, as the option ``name`` of a group.

        Args:
            group: The group, such as ``schema/decoding``.
            name: Its name there, without ``.yaml``.
            node: A dataclass or an object of one.
        """
        options = self._root
        for part in group.split("/"):
            options = options.setdefault(part, _Options())
        options.setdefault(f"{name}.yaml", node)


class _Options(dict):
    """A group of Hydra's store: options and subgroups by name. An option becomes a node when Hydra asks for it."""

    def __init__(self, stored: dict[str, Any] | None = None) -> None:
        super().__init__(stored or {})
        self._nodes: dict[str, ConfigNode] = {}

    def __getitem__(self, name: str) -> Any:
        stored = super().__getitem__(name)
        if isinstance(stored, dict):
            return stored
        if name not in self._nodes:
            node = OmegaConf.structured(stored)
            self._nodes[name] = ConfigNode(name=name, node=node, group=None, package=None, provider=None)
        return self._nodes[name]

    def __deepcopy__(self, memo: dict) -> _Options:
        return self  # classes do not change, and Hydra copies each node that it uses

    def __reduce__(self) -> tuple:
        return _Options, (dict(self.items()),)  # for the processes of a launcher, which make their own nodes
