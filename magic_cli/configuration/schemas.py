"""Settings classes in Hydra's store, made into its nodes only when a config names them.

There are some fifty classes, of which a command uses ten; Hydra makes a node of each as it is stored, and copies its whole
store whenever it composes. That took longer than all else that happens before a model loads.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf


class LazySchemas:
    """Puts settings classes into Hydra's store, as ``ConfigStore.store`` does, without making nodes of them."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = ConfigStore.instance().repo

    def store(self, *, group: str, name: str, node: Any) -> None:
        """Store a settings class, or an object of one, as the option ``name`` of a group.

        Args:
            group: Its place, such as ``schema/decoding``.
            name: Its name there, without ``.yaml``.
            node: A dataclass or an object of one.
        """
        options = self._root
        for part in group.split("/"):
            options = options.setdefault(part, _Options())
        options.setdefault(f"{name}.yaml", node)


class _Options(dict):
    """A group of Hydra's store: options and groups by their names. An option is handed out as the node that Hydra expects."""

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
        return self  # classes do not change, and Hydra copies each node that it takes

    def __reduce__(self) -> tuple:
        return _Options, (dict(self.items()),)  # to the processes of a launcher, which make their own nodes
