"""Everything that was trained, as a folder: the rows of the vokens, the mapper, and the adapter; no frozen weights.

vokens.json           number of vokens, shape of the mapper, kind of adapter, the last stage of training
vokens.safetensors    rows.input, rows.output, mapper.*, and adapter.*, in float32
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError, SettingsError
from magic_cli.files import sha256, write_atomically
from magic_cli.interleaved.adapters import Adapter, describe
from magic_cli.interleaved.folders import TINY_FOLDER, read_weights, require_fit
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.settings import GROUP, TINY, AdapterKind, AdapterSettings, MapperSettings
from magic_cli.interleaved.vokens import NewRows, VokenIds
from magic_cli.models.faults import ModelFault

CONFIG, WEIGHTS = "vokens.json", "vokens.safetensors"


@dataclass
class TrainedVokens:
    """The result of a training.

    Attributes:
        num_vokens: n, the number of vokens.
        mapper_settings: Shape of the mapper.
        adapter_settings: The adapter of the language model; its kind may be ``none``.
        stage: The last stage of training.
        weights: Weights by their names in vokens.safetensors.
        source: Name and SHA-256 of the files, for manifests.
    """

    num_vokens: int
    mapper_settings: MapperSettings
    adapter_settings: AdapterSettings
    stage: str
    weights: dict[str, Tensor]
    source: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, place: str) -> TrainedVokens:
        """Read a folder; ``tiny`` is the one that ships with magic.

        Raises:
            MagicError: The folder has another form, or is damaged.
        """
        folder = TINY_FOLDER / "vokens" if place == TINY else expanded(place)
        setting = f"{GROUP}.vokens={place}"
        file = folder / CONFIG
        if not file.is_file():
            raise MagicError(f"{setting}: has no {CONFIG}; name the folder of a finished `magic train-vokens`")
        try:
            config = parse_object(file.read_bytes())
            adapter = AdapterSettings(**config["adapter"] | {"kind": AdapterKind(config["adapter"]["kind"])})
            mapper = MapperSettings(**config["mapper"])
            weights = read_weights(folder / WEIGHTS)
            number, stage = int(config["num_vokens"]), str(config["stage"])
        except (JSONFault, KeyError, TypeError, ValueError, OSError) as error:
            raise MagicError(
                f"{setting}: {file.name} or {WEIGHTS} cannot be read ({type(error).__name__}: {error}); train again"
            ) from error
        files = {name: sha256(folder / name) for name in (CONFIG, WEIGHTS)}
        return cls(number, mapper, adapter, stage, weights, {"name": folder.name, "stage": stage, "files": files})

    def save(self, folder: Path) -> None:
        """Write the folder's two files."""
        from safetensors.torch import save

        config = {
            "num_vokens": self.num_vokens, "mapper": asdict(self.mapper_settings), "adapter": describe(self.adapter_settings), "stage": self.stage,
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().float().cpu().contiguous() for name, weight in sorted(self.weights.items())}
        write_atomically(folder / WEIGHTS, save(weights))
        write_atomically(folder / CONFIG, json.dumps(config, indent=1) + "\n")

    def part(self, name: str) -> dict[str, Tensor]:
        """The weights of ``rows``, ``mapper`` or ``adapter``, without that prefix."""
        return {key.removeprefix(f"{name}."): weight for key, weight in self.weights.items() if key.startswith(f"{name}.")}

    def give_rows(self, rows: NewRows) -> None:
        """Load the trained rows.

        Raises:
            MagicError: They belong to another language model.
        """
        self._fit("the rows", lambda: require_fit(rows, self.part("rows")))

    def give_mapper(self, mapper: VokenMapper) -> None:
        """Load the trained weights of the mapper.

        Raises:
            MagicError: They belong to other models.
        """
        self._fit("the mapper", lambda: require_fit(mapper, self.part("mapper")))

    def adapt(self, model: Any) -> Adapter | None:
        """Add the trained adapter, if there is one, to a causal LM.

        Raises:
            MagicError: It belongs to another language model.
        """
        if self.adapter_settings.kind is AdapterKind.none:
            return None
        adapter = Adapter(model, self.adapter_settings)
        self._fit("the adapter", lambda: adapter.take(self.part("adapter")))
        return adapter

    def settle(self, model: Any, ids: VokenIds, mapper: VokenMapper) -> list[tuple[Tensor, Tensor]] | None:
        """Merge everything into the models, for use without training; returns the prefix, if there is one (``Adapter.settle``).

        Raises:
            MagicError: The weights belong to other models.
        """
        rows = NewRows(model, ids)
        self.give_rows(rows)
        rows.bake()
        self.give_mapper(mapper)
        adapter = self.adapt(model)
        return adapter.settle() if adapter is not None else None

    def _fit(self, what: str, give: Any) -> None:
        try:
            give()
        except ModelFault as fault:
            text = fault.faults[0].text
            raise SettingsError(
                f"{GROUP}.vokens={self.source.get('name')}: {what} were trained with other models ({text}); name the models that it was trained with"
            ) from None


def trained_weights(rows: NewRows, mapper: VokenMapper, adapter: Adapter | None) -> dict[str, Tensor]:
    """All trained parts, under their names in vokens.safetensors."""
    adapted: Mapping[str, Tensor] = adapter.parameters() if adapter is not None else {}
    named = (("rows", rows.state_dict()), ("mapper", mapper.state_dict()), ("adapter", adapted))
    return {f"{part}.{name}": weight for part, weights in named for name, weight in weights.items()}
