"""All guides beside the image, with their settings: the group ``guides``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from magic_cli.decoding.method import Method
from magic_cli.errors import SettingsError, nearest
from magic_cli.guides.base import GuideSettings
from magic_cli.guides.memory import Memory
from magic_cli.guides.second_model import SecondModel

IMAGE = "image"


@dataclass
class GuidesSettings:
    """The guides that ``decoding.guides`` can name beside ``image``, in the order in which they act."""

    second_model: SecondModel = field(default_factory=SecondModel)
    memory: Memory = field(default_factory=Memory)

    def chosen(self, method: Method) -> dict[str, GuideSettings]:
        """The guides of a method, by name, without those that change nothing."""
        named = method.guides if method.needs_image else ()
        return {item.name: guide for item in fields(self) if item.name in named and (guide := getattr(self, item.name)).is_active}

    def check(self, method: Method) -> None:
        """Refuse unknown names, and guides that do not support the method.

        Raises:
            SettingsError: One line that names the setting.
        """
        known = [IMAGE, *(item.name for item in fields(self))]
        for name in method.guides:
            if name not in known:
                raise SettingsError(f"decoding.guides: {name!r} is unknown; {nearest(name, known)}")
        for guide in self.chosen(method).values():
            guide.check(method)

    def notes(self, names: Sequence[str], method: str) -> list[str]:
        """Notes for the user about guides that have settings but are not among ``names``; ``method`` would take them."""
        default = type(self)()
        odd = [
            item.name
            for item in fields(self)
            if item.name not in names and _differ(getattr(self, item.name), getattr(default, item.name))
        ]
        return [
            f"guides.{name}: is set and not used; decoding={method} takes it with decoding.guides=[{','.join([*names, name])}]"
            for name in odd
        ]


def _differ(guide: GuideSettings, other: GuideSettings) -> bool:
    return any(
        getattr(guide, item.name) != getattr(other, item.name) for item in fields(guide) if item.name not in guide.of_models
    )
