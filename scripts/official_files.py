"""What the prepare scripts share: archives that are downloaded or found, unpacked resumably, and Karpathy's splits checked.

Problems end the script with one line (``SystemExit``), since they are the user's to mend.
"""

import argparse
import http.client
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from magic_cli.data.json_files import read_json_object
from magic_cli.errors import MagicError

KARPATHY = ("caption_datasets.zip", "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip")
"""His splits of COCO, Flickr30k and Flickr8k, with their captions."""


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main``; Ctrl-C ends it in one line with status 130."""
    try:
        main()
    except MagicError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)


def arguments(description: str, output: str, *, archives: str) -> argparse.ArgumentParser:
    """A parser with the flags that all scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(output))
    parser.add_argument("--from", dest="local", type=Path, metavar="FOLDER", help=f"folder that already holds {archives}")
    parser.add_argument(
        "--mirror", metavar="URL", help="take the archives from here, under their own names, instead of their official places"
    )
    return parser


def bring(archive: tuple[str, str], folder: Path, *, local: Path | None, mirror: str | None) -> Path:
    """An archive (name, official address): from the local folder if given, else downloaded to ``folder`` (a half one is resumed)."""
    name, url = archive
    if local is not None:
        if not (local / name).is_file():
            sys.exit(f"--from {local}: has no {name}; download it from {url}")
        return local / name
    url = f"{mirror.rstrip('/')}/{name}" if mirror else url
    whole, part = folder / name, folder / f"{name}.part"
    if not whole.exists():
        download(url, part)
        part.rename(whole)
    return whole


def download(url: str, part: Path) -> None:
    """Fetch what is missing of a file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    advice = "start again to go on, or download it elsewhere and use --from FOLDER"
    try:
        with urllib.request.urlopen(request) as answer, part.open("ab" if answer.status == 206 else "wb") as stream:
            print(f"downloading {url} ({have / 1e6:.0f} MB are here)", file=sys.stderr)
            length = answer.headers["Content-Length"]  # some mirrors do not say
            expected = None if length is None else int(length) + (have if answer.status == 206 else 0)
            shutil.copyfileobj(answer, stream, 1 << 20)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the part is whole
            sys.exit(f"{url}: {error}; {advice}")
        expected = have
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{url}: {error}; {advice}")
    if expected is not None and part.stat().st_size != expected:
        sys.exit(f"{url}: the connection broke at {part.stat().st_size} of {expected} bytes; {advice}")


def unpack(archive: Path, target: Callable[[str], Path | None]) -> int:
    """Extract members of a zip or tar archive that are not there yet.

    Args:
        archive: The file.
        target: Where a member of this name goes; None: it is not wanted.

    Returns:
        How many members are wanted.
    """
    count = 0
    try:
        for name, size, read in _members(archive):
            place = target(name)
            if place is None:
                continue
            count += 1
            if not place.exists() or place.stat().st_size != size:
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(f".{place.name}.part")  # a crash leaves no half file under its name
                with read() as source, part.open("wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                part.replace(place)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        sys.exit(f"{archive}: {error}; if it is damaged, delete it and start again")
    return count


def _members(archive: Path) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """Name, size and reader of every file in an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                if not member.is_dir():
                    yield member.filename, member.file_size, lambda member=member: members.open(member)
        return
    with tarfile.open(archive) as members:  # gzipped or not
        for member in members:
            if member.isfile():
                yield member.name, member.size, lambda member=member: members.extractfile(member)


def karpathy_split(archive: Path, name: str, folder: Path) -> Path:
    """``dataset_coco.json`` or the like out of Karpathy's archive."""
    if not unpack(archive, lambda member: folder / name if Path(member).name == name else None):
        sys.exit(f"{archive}: has no {name}; it is not Karpathy's caption_datasets.zip")
    return folder / name


def read_split(file: Path) -> list[dict[str, Any]]:
    """The images of one of Karpathy's files."""
    images = read_json_object(file, remedy="delete it and start again").get("images")
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        sys.exit(f"{file}: not one of Karpathy's files (it has no list of images); delete it and start again")
    return images


def check_split(file: Path, images: list[dict[str, Any]], expected: dict[str, int], *, captions: range) -> None:
    """Compare the sizes of the splits, and the number of captions of each image, with the known ones."""
    found = Counter(image["split"] for image in images)
    if found != expected:
        listed = [
            f"{split} {found.get(split, 0)} instead of {expected.get(split, 0)}"
            for split in {**expected, **found}
            if found.get(split, 0) != expected.get(split, 0)
        ]
        sys.exit(f"{file}: not the official splits ({', '.join(listed)}); delete it and start again")
    odd = [image["filename"] for image in images if len(image["sentences"]) not in captions]
    if odd:
        sys.exit(
            f"{file}: {len(odd)} images have not {captions.start} to {captions.stop - 1} captions, e.g. {odd[0]}; delete it and start again"
        )
    names = Counter(image["filename"] for image in images)
    if len(names) < len(images):
        sys.exit(f"{file}: {names.most_common(1)[0][0]} stands in it twice; delete it and start again")


def check_images(images: list[dict[str, Any]], folder: Path, splits: tuple[str, ...], advice: str) -> int:
    """Make sure that every image of some splits is there and not empty; returns their number."""
    wanted = [folder / image.get("filepath", "") / image["filename"] for image in images if image["split"] in splits]
    missing = [file for file in wanted if not file.is_file() or not file.stat().st_size]
    if missing:
        sys.exit(
            f"{folder}: {len(missing)} of the {len(wanted)} images of {' and '.join(splits)} are missing, e.g. {missing[0]}; {advice}"
        )
    return len(wanted)
