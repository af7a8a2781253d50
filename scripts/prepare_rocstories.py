"""Make the story texts that `magic story --dataset rocstories` and training read, from files that you have received.

    python scripts/prepare_rocstories.py --from ~/downloads --test ~/MAGIC/rocstories_test.txt

--from holds the two CSV files of ROCStories (spring 2016 and winter 2017), which must be requested by the form on
https://cs.rochester.edu/nlp/rocstories/. --test is the test file of the MAGIC authors' repository: 1,500 lines of
title<TAB>story; how it was drawn from the CSV files is not published, so it cannot be made again. The script checks that
every story has a title and five sentences, that there are 1,500 different test stories, and that the CSV files hold each of
them: a CSV file that is cut short, or of another edition, would lack some. Written to --output:

    rocstories_test.txt     the test file as it is
    rocstories_train.txt    title<TAB>story of all stories that are not in the test file
"""

import argparse
import csv
import io
import re
import sys
from pathlib import Path

from magic_cli.data.text_files import read_text
from magic_cli.errors import MagicError

EDITIONS = ("spring2016", "winter2017")
TEST_TITLES = 1_500
FORM = "request the stories by the form on https://cs.rochester.edu/nlp/rocstories/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="local", type=Path, required=True, metavar="FOLDER", help="holds the two CSV files")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="rocstories_test.txt of the authors' repository")
    parser.add_argument("--output", type=Path, default=Path("data/rocstories"))
    args = parser.parse_args()
    test = read_test(args.test)
    stories = [story for edition in EDITIONS for story in read_edition(args.local, edition)]
    held_out = {letters(*story) for story in test}
    train = [story for story in stories if letters(*story) not in held_out]
    missing = held_out - {letters(*story) for story in stories}
    if missing:
        sys.exit(
            f"{args.test}: {len(missing)} of its stories are in none of the CSV files, so they are not the same edition, and training text could hold test stories"
        )
    args.output.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("test", test), ("train", train)):
        write(args.output / f"rocstories_{name}.txt", chosen)
    print(
        f"{args.output}: rocstories_test.txt with {len(test)} titles and rocstories_train.txt with {len(train)} of {len(stories)} stories"
    )
    print(f"next: magic story --dataset rocstories dataset.titles={args.output / 'rocstories_test.txt'} --retrieved FILE")


def read_test(file: Path) -> list[tuple[str, str]]:
    """Title and story of every line."""
    lines = read_text(file, setting="--test", hint="take rocstories_test.txt from the MAGIC authors' repository").splitlines()
    wrong = [number for number, line in enumerate(lines, start=1) if line.count("\t") != 1]
    if wrong:
        sys.exit(
            f"--test {file} line {wrong[0]}: not title<TAB>story; take rocstories_test.txt from the MAGIC authors' repository"
        )
    if len(lines) != TEST_TITLES:
        sys.exit(
            f"--test {file}: {len(lines)} lines instead of {TEST_TITLES}; take rocstories_test.txt from the MAGIC authors' repository"
        )
    stories = [tuple(line.split("\t")) for line in lines]
    if len({letters(*story) for story in stories}) < len(stories):
        sys.exit(f"--test {file}: a story stands in it twice; take rocstories_test.txt from the MAGIC authors' repository")
    return stories


def read_edition(folder: Path, edition: str) -> list[tuple[str, str]]:
    """Title and story of every row of the CSV file whose name has the edition."""
    files = sorted(file for file in folder.glob("*.csv") if edition in re.sub(r"[^a-z0-9]", "", file.name.lower()))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        sys.exit(f"--from {folder}: needs one CSV file of {edition}, found {found}; {FORM}")
    sentences = [f"sentence{n}" for n in range(1, 6)]
    stories = []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(files[0], setting="", hint=FORM), newline="")))
    except csv.Error as error:
        sys.exit(f"{files[0]}: cannot be read ({error}); leave the file as it came, or {FORM}")
    for row in rows:
        parts = [" ".join((row.get(name) or "").split()) for name in ["storytitle", *sentences]]
        if not all(parts):
            sys.exit(f"{files[0]} story {len(stories) + 1}: has no {['storytitle', *sentences][parts.index('')]}; {FORM}")
        stories.append((parts[0], " ".join(parts[1:])))
    return stories


def letters(title: str, story: str) -> str:
    """What two copies of a story have in common however their spaces, quotes and capitals were treated."""
    return re.sub(r"[\W_]+", "", f"{title}{story}").casefold()


def write(file: Path, stories: list[tuple[str, str]]) -> None:
    """One story a line; the file is there whole or not at all."""
    part = file.with_name(f".{file.name}.part")
    part.write_text("".join(f"{title}\t{story}\n" for title, story in stories), encoding="utf-8")
    part.replace(file)


if __name__ == "__main__":
    try:
        main()
    except MagicError as error:
        sys.exit(str(error))
