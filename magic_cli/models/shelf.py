"""Models that stay loaded: whoever asks for the same one again gets it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel
    from magic_cli.models.loading import Check
    from magic_cli.models.work_counter import WorkCounter


class Shelf:
    """Each model once, by its settings and what it runs on; the arguments are those of ``models.loading``."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, dict[str, Any]]] = {}

    def language_model(
        self, settings: Any, *, check: Check | None = None, **where: Any
    ) -> tuple[HuggingFaceLanguageModel, dict[str, Any]]:
        """As ``load_language_model``; of a model that is loaded, ``check`` looks at the model itself."""
        from magic_cli.models.loading import load_language_model

        key = _key(settings, where)
        if key in self._kept and check is not None:
            check(self._kept[key][0])
        return self._once(key, lambda: load_language_model(settings, check=check, **where))

    def image_text_model(self, settings: Any, **where: Any) -> tuple[ImageTextModel, dict[str, Any]]:
        """As ``load_image_text_model``."""
        from magic_cli.models.loading import load_image_text_model

        return self._once(_key(settings, where), lambda: load_image_text_model(settings, **where))

    def load_both(self, settings: Any, work: WorkCounter) -> dict[str, dict[str, Any]]:
        """Load the language model and the image-text model of a command's settings; returns their facts by their settings.

        Raises:
            MagicError: The device is not there, or a model cannot be loaded.
        """
        import torch

        from magic_cli.models.loading import resolve_device
        from magic_cli.models.threads import use_threads

        run = settings.run
        use_threads(run.threads)
        where = {"device": resolve_device(run.device), "dtype": getattr(torch, run.dtype.value), "work": work}
        return {
            "language_model": self.language_model(settings.language_model, **where)[1],
            "image_text_model": self.image_text_model(settings.image_text_model, **where)[1],
        }

    def _once(self, key: str, load: Callable[[], tuple[Any, dict[str, Any]]]) -> tuple[Any, dict[str, Any]]:
        if key not in self._kept:
            self._kept[key] = load()
        model, facts = self._kept[key]
        return model, dict(facts)


def _key(settings: Any, where: dict[str, Any]) -> str:
    """Names a model; not all that is set takes part in loading it."""
    source = {name: value for name, value in asdict(settings).items() if name not in ("recommended", "look_ahead", "weight")}
    return repr((settings.group, source, where["device"], where["dtype"]))
