"""What a captioner's file was read as, in a form that a test can compare."""

from magic_cli.data.system import System


def by_id(system: System, name: str = "text") -> dict:
    """One field of the items that have it, by their ids."""
    return {item.id: value for item in system.items if (value := getattr(item, name)) not in (None, ())}
