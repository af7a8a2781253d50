"""Settings of ``magic merge-runs``."""

from __future__ import annotations

from dataclasses import dataclass, field

from magic_cli.errors import SettingsError


@dataclass
class MergeSettings:
    """Everything ``magic merge-runs`` needs.

    Attributes:
        runs: Run folders of all parts (``run.shard=i/n``), or patterns; in any order.
        output: The run folder that is made of them.
    """

    runs: list[str] = field(default_factory=list)
    output: str | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise SettingsError(
                "runs=[]: name the run folders of all parts, e.g. magic merge-runs big/shard-* --output big/whole"
            )
        if not self.output:
            raise SettingsError("output is not set; name the run folder to make, e.g. --output big/whole")

    def claim(self) -> tuple[str, str]:
        """The folder that this would write, and what is written there."""
        return str(self.output), repr(self.runs)
