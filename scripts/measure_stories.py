"""Stories for ROCStories titles on retrieved photos: metrics of all seven methods, and whether the image shows in MAGIC's.

    python scripts/measure_stories.py --photos DIR --titles rocstories_test.txt

DIR is what scripts/train_embedded_matcher.py reads. Two image-text heads are trained, of different seeds on different halves of
the training photos: one retrieves and guides, the other scores. Stories are told on photos that neither was trained on. What is
done is not done again, so a stopped run goes on. All settings of `magic story` may follow, for another language model:

    python scripts/measure_stories.py --photos DIR --titles FILE language_model.path=DIR 'prompt="{title}:"'

Exit status: 0 if MAGIC's CLIPScore is above contrastive search's by more than its confidence interval, else 1.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path

from magic_cli.cli.main import main as magic
from magic_cli.data.json_files import read_json_object
from magic_cli.data.text_files import read_text
from magic_cli.models.sources import EMBEDDED_FOLDER

METHODS = ("magic", "contrastive", "greedy", "beam", "top_k", "nucleus", "typical")
SAMPLED = ("top_k", "nucleus", "typical")
HEADS = {"guides": 0, "scores": 1}
"""Name of each head: its seed, and its half of the photos."""
METRICS = "repetition,coherence_minilm,mauve,clip_score"


def call(words: list[str], *, quiet: bool = False) -> str:
    """Run ``magic``; returns its stdout. Stops where it fails."""
    print(f"$ magic {' '.join(words)}", file=sys.stderr)
    output = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stdout(output):
        status = magic(words)
    print(f"  {time.perf_counter() - start:.0f} seconds", file=sys.stderr)
    if status:
        sys.exit(f"magic {words[0]} exited with {status}")
    if not quiet:
        print(output.getvalue(), flush=True)
    return output.getvalue()


def train_heads(arguments: argparse.Namespace) -> dict[str, Path]:
    """The two heads, trained where they are not there yet."""
    script = Path(__file__).with_name("train_embedded_matcher.py")
    folders = {name: arguments.heads / name for name in HEADS}
    for name, number in HEADS.items():
        if (folders[name] / "recall.json").is_file():  # what it writes last
            continue
        subprocess.run(
            [sys.executable, str(script), "--photos", str(arguments.photos), "--output", str(folders[name]), "--seed", str(number),
             "--half", str(number), "--cache", str(arguments.cache), "--threads", str(arguments.threads), "--dtype", arguments.dtype],
            check=True,
        )  # fmt: skip
    return folders


def held_out_photos(photos: Path) -> list[Path]:
    """Photos that no head is trained on."""
    found = []
    for file in sorted(photos.glob("*/captions.json")):
        images = read_json_object(file, remedy="make it again")["images"]
        found += [file.parent / "images" / image["file_name"] for image in images if image["split"] != "train"]
    return [path.absolute() for path in found]


def retrieve(arguments: argparse.Namespace, titles: Path, model: list[str]) -> Path:
    """The best photos of every title."""
    listed = arguments.output / "photos.txt"
    listed.write_text("".join(f"{path}\n" for path in held_out_photos(arguments.photos)), encoding="utf-8")
    index, answers = arguments.output / "index", arguments.output / "retrieved"
    call(["retrieve-images", "build", str(listed), "--index", str(index), *model], quiet=True)
    words = ["retrieve-images", "query", str(titles), "--index", str(index), "--top-k", "3", "--output", str(answers)]
    call([*words, *model], quiet=True)
    return answers / "retrieved.jsonl"


def write_stories(arguments: argparse.Namespace, titles: Path, retrieved: Path, model: list[str]) -> dict[str, Path]:
    """Run folders of all methods; of sampled ones three."""
    folders = {}
    for method in METHODS:
        for repeat in (1, 2, 3) if method in SAMPLED else (1,):
            name = f"{method}-{repeat}" if method in SAMPLED else method
            folders[name] = arguments.output / "stories" / name
            words = [
                "story",
                "--titles",
                str(titles),
                "--retrieved",
                str(retrieved),
                "--decoding",
                method,
                *model,
                *arguments.settings,
            ]
            call(
                [*words, f"run.repeat={repeat}", f"run.threads={arguments.threads}", "--run-dir", str(folders[name])], quiet=True
            )
    return folders


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--titles", type=Path, required=True, help="title<TAB>story a line")
    parser.add_argument("--num-titles", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path("runs/measure_stories"))
    parser.add_argument(
        "--heads", type=Path, default=Path("build/story_heads"), help="folder of the two heads; trained if not there"
    )
    parser.add_argument("--cache", type=Path, default=Path("build/embedded_matcher"), help="features of the training photos")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="for making those features")
    parser.add_argument("--retrieved", type=Path, help="images of the titles, instead of retrieving them")
    parser.add_argument(
        "--mauve-model", type=Path, default=EMBEDDED_FOLDER / "language_model", help="folder of MAUVE's featurizer"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("settings", nargs="*", help="settings of every `magic story`")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    heads = train_heads(arguments)
    guiding, scoring = (["image_text_model=embedded", f"image_text_model.path={heads[name]}"] for name in HEADS)
    titles = arguments.output / "titles.txt"
    lines = read_text(arguments.titles, setting="--titles", hint="name ROCStories' test file").splitlines(keepends=True)[
        : arguments.num_titles
    ]
    titles.write_text("".join(lines), encoding="utf-8")
    retrieved = arguments.retrieved or retrieve(arguments, titles, guiding)
    folders = write_stories(arguments, titles, retrieved, guiding)
    common = [
        "--retrieved",
        str(retrieved),
        *scoring,
        f"metrics.mauve.model.path={arguments.mauve_model}",
        f"run.threads={arguments.threads}",
    ]
    print(
        f"n = {len(lines)} titles; CLIPScore by {heads['scores']}, guided by {heads['guides']}; MAUVE's featurizer: {arguments.mauve_model}"
    )
    call(
        [
            "evaluate",
            *map(str, folders.values()),
            "--human",
            "--metrics",
            METRICS,
            "--output",
            str(arguments.output / "scores"),
            *common,
        ]
    )
    comparison = arguments.output / "comparison"
    pair = [str(folders["contrastive"]), str(folders["magic"])]
    call(["evaluate", *pair, "--compare", "--metrics", "clip_score", "--output", str(comparison), *common])
    [measure] = json.loads(next(comparison.rglob("comparison.json")).read_text(encoding="utf-8"))["measures"]
    is_above = measure["low"] > 0
    print(f"MAGIC above contrastive by more than its confidence interval: {'yes' if is_above else 'NO'}")
    return 0 if is_above else 1


if __name__ == "__main__":
    sys.exit(main())
