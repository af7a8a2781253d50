"""Settings of ``magic live``."""

from __future__ import annotations

from dataclasses import dataclass, field

from magic_cli.configuration.files import groups
from magic_cli.errors import SettingsError, nearest, require
from magic_cli.models.settings import MachineSettings

_MOST_PORT, _MOST_MEGABYTES, _MOST_MEGAPIXELS = 65535, 1000, 178
"""Pillow refuses to read larger images."""


def options(group: str) -> tuple[str, ...]:
    """The options of a settings group in ``magic caption``."""
    return next(one.options for one in groups("caption") if one.name == group)


@dataclass
class LiveSettings:
    """Everything ``magic live`` needs.

    Attributes:
        host: Address of the page; any other than 127.0.0.1 shows it to other people.
        port: Port of the page; 0: a free one.
        language_models: Language models to choose from: options of ``language_model``, or folders; null: all options.
        image_text_models: Image-text models to choose from: options of ``image_text_model``, or folders or files that any of
            them reads; null: all options.
        methods: Methods that are ticked at first: options of ``decoding``.
        max_megabytes: The largest photo file that is accepted, 1 to 1000.
        max_megapixels: The largest photo that is accepted, 1 to 178.
        run: What models run on.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    language_models: list[str] | None = None
    image_text_models: list[str] | None = None
    methods: list[str] = field(default_factory=lambda: ["magic", "contrastive", "nucleus"])
    max_megabytes: int = 50
    max_megapixels: int = 50
    run: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self) -> None:
        require("port", self.port, at_least=0, at_most=_MOST_PORT)
        require("max_megabytes", self.max_megabytes, at_least=1, at_most=_MOST_MEGABYTES)
        require("max_megapixels", self.max_megapixels, at_least=1, at_most=_MOST_MEGAPIXELS)
        for name in ("language_models", "image_text_models"):
            if getattr(self, name) == []:
                raise SettingsError(f"{name}=[]: name one at least, or leave {name} out")
        known = options("decoding")
        for method in self.methods:
            if method not in known:
                raise SettingsError(f"methods: {method} is unknown; {nearest(method, known)}")

    def offered(self, group: str) -> list[str]:
        """The models to choose from, of ``language_model`` or ``image_text_model``; the first is chosen at first.

        Unless the user has named models, it is the default of ``magic caption``: an embedded model, of whose packages the
        image-text model needs those of the extra ``embedded``, which the extra ``live`` brings.
        """
        usual = next(one.default for one in groups("caption") if one.name == group)
        return getattr(self, f"{group}s") or sorted(options(group), key=lambda option: option != usual)

    def claim(self) -> None:
        """None: it writes into no folder that another run could use."""
