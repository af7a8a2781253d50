"""The image-text model for CLIPScore if the user has not chosen one: the model that made the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from magic_cli.data.system import System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.settings import DEFAULT_SCORER, ScoringSettings
from magic_cli.models.settings import Family, ImageTextModelSettings

S = TypeVar("S", bound=ScoringSettings)
_CHOOSE = "choose one with --image-text-model NAME, or image_text_model.path=DIR"


@dataclass
class OwnImageTextModel(ImageTextModelSettings):
    """The image-text model of a run; it may have been deleted since.

    Attributes:
        run: The run folder.
        files: SHA-256 of its files by name, when the run used them; None: not known.
    """

    run: str = ""
    files: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Check nothing yet, because the model may not be needed."""

    def checked(self) -> ImageTextModelSettings:
        """The plain settings.

        Raises:
            SettingsError: The model is no longer there.
        """
        plain = {field.name: getattr(self, field.name) for field in fields(ImageTextModelSettings)}
        try:
            return ImageTextModelSettings(**plain)
        except SettingsError as error:
            raise SettingsError(
                f"the model of {self.run}, {self.path or self.name}, no longer exists ({error}); {_CHOOSE}"
            ) from error

    def check_files(self, facts: dict[str, Any]) -> None:
        """Compare the loaded model with the one that the run used.

        Raises:
            MagicError: The files differ.
        """
        if self.files is not None and facts.get("files") is not None and facts["files"] != self.files:
            raise MagicError(f"the files of {self.path or self.name} are not those that {self.run} was made with; {_CHOOSE}")


def with_own_model(settings: S, systems: Sequence[System]) -> tuple[S, str | None]:
    """The settings with the image-text model that all runs among the systems share, if one is needed and the user chose none.

    Returns:
        The settings, and a warning if the runs used different models, so that the default is used.

    Raises:
        MagicError: A run's manifest is damaged.
    """
    if not settings.metrics.needs_images() or settings.image_text_model != DEFAULT_SCORER:
        return settings, None
    own = [model for system in systems if (model := _own(system)) is not None]
    models = {(str(asdict(replace(model, run="", logit_scale=None)))): model for model in own}
    if len(models) > 1:
        names = ", ".join(f"{model.run}: {model.path or model.name}" for model in models.values())
        return (
            settings,
            f"the runs were made with different image-text models ({names}), so CLIPScore uses {settings.image_text_model.name}; {_CHOOSE}",
        )
    return (replace(settings, image_text_model=own[0]) if own else settings), None


def _own(system: System) -> OwnImageTextModel | None:
    """The image-text model in a run's manifest; None: there is none, or the system is not a run.

    Raises:
        MagicError: The manifest is damaged.
    """
    manifest = system.manifest or {}
    identity, used = (manifest.get(key) for key in ("identity", "models"))
    values = identity.get("image_text_model") if isinstance(identity, dict) else None
    if not isinstance(values, dict) or values.get("family") not in Family.__members__:
        return None
    facts = used.get("image_text_model") if isinstance(used, dict) else None
    known: dict[str, Any] = {key: values.get(key) for key in ("name", "path", "pretrained", "revision", "logit_scale")}
    for key, value in known.items():
        kinds, what = (int | float, "a number") if key == "logit_scale" else (str, "a text")
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            got = f"identity.image_text_model.{key} must be {what} or null, got {str(value)[:60]!r}"
            raise MagicError(f"{system.source / 'manifest.json'}: {got}; {_CHOOSE}, or run its command again")
    return OwnImageTextModel(
        **known | {"revision": known["revision"] or "main"}, family=Family[values["family"]], run=str(system.source),
        files=facts.get("files") if isinstance(facts, dict) else None,
    )  # fmt: skip
