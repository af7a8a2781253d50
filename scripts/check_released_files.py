"""Score the authors' released prediction files and compare every number with the paper's tables, at its printed precision.

    python scripts/check_released_files.py RELEASED --spice-lib JARS

RELEASED is a folder with the files under their released names, gzipped or not. All flags and settings of `magic table` may
follow. Exit status: 0 every number that the files can give agrees, 1 some do not or were not measured, 2 wrong settings.
"""

import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_dir

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import translate
from magic_cli.commands.table import measure
from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import MagicError
from magic_cli.evaluation.settings import TableSettings
from magic_cli.reports.comparison import check_against_paper
from magic_cli.reports.paper import load_paper
from magic_cli.reports.row_files import locate

METRICS = "bleu,meteor,rouge_l,cider,spice,repetition"


def main(folder: str, words: Sequence[str]) -> int:
    """Print each number with its expected one; returns the exit status."""
    if "--metrics" not in words:
        words = [*words, "--metrics", METRICS]
    _, overrides = translate(["all", folder, "bootstrap.samples=0", *words], COMMANDS["table"])
    composing.register()
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        settings = composing.to_settings(compose("table", overrides), TableSettings)
    located = locate([folder], settings.rows)
    if not located.rows:
        raise MagicError(f"{folder}: holds no released file under its released name")
    measured = measure(located.rows, settings)
    checks = check_against_paper(measured)
    for check in checks:
        verdict = "agrees" if check.agrees else "DIFFERS"
        print(f"{check.row:32} {check.measure:10} {check.measured!s:>8} {check.expected!s:>8}  {verdict}")
    wrong = [check for check in checks if not check.agrees]
    reasons = {f"{name} not run: {why}" for runs in measured.values() for run in runs for name, why in run["not_run"].items()}
    unchecked = [row for row in measured if row not in {check.row for check in checks} and load_paper().row(row).cells]
    print(f"{len(checks) - len(wrong)} of {len(checks)} numbers of {len(located.rows)} files agree")
    for problem in [*sorted(reasons), *(f"{row}: not compared, its runs are incomplete" for row in unchecked)]:
        print(f"check_released_files: {problem}", file=sys.stderr)
    return 1 if wrong or reasons or not checks else 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except MagicError as error:
        print(f"check_released_files: {error}", file=sys.stderr)
        sys.exit(2)
