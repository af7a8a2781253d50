"""How long `magic evaluate` takes, against plain pycocoevalcap, and what SPICE's cache saves.

    python scripts/measure_evaluation.py FILE [FILE ...] [--spice-lib JARS]

The files are prediction files with their references, the first is also scored alone. Whole commands are timed, each in a
process of its own: `magic evaluate` with its bootstrap intervals, and pycocoevalcap's own sequence (PTB tokenizer, BLEU,
METEOR, ROUGE-L, CIDEr), which needs a Java on PATH. With --spice-lib: SPICE of the first file with an empty cache, of all
files with an empty cache, and of all again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from magic_cli.data.predictions import read_system

FAST = "bleu,meteor,rouge_l,cider"


def stock(file: Path) -> dict[str, float]:
    """pycocoevalcap's own sequence."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    system = read_system(file)
    tokenizer = PTBTokenizer()
    gold = tokenizer.tokenize(
        {item.id: [{"caption": text} for text in item.references] for item in system.items if item.references}
    )
    ours = tokenizer.tokenize({item.id: [{"caption": item.text}] for item in system.items})
    bleu = Bleu(4).compute_score(gold, ours, verbose=0)[0]
    found = {f"bleu_{n}": value for n, value in enumerate(bleu, start=1)}
    for name, scorer in (("meteor", Meteor()), ("rouge_l", Rouge()), ("cider", Cider())):
        found[name] = float(scorer.compute_score(gold, ours)[0])
    return found


def timed(command: list[str]) -> float:
    """Wall seconds of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def evaluate(files: list[Path], metrics: str, output: Path, *words: str) -> list[str]:
    """The command that a user types."""
    return [
        sys.executable,
        "-m",
        "magic_cli",
        "evaluate",
        *map(str, files),
        "--metrics",
        metrics,
        "--output",
        str(output),
        *words,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many; the two sides take turns")
    parser.add_argument("--spice-lib", type=Path)
    parser.add_argument("--stock", action="store_true", help="only pycocoevalcap's scores of the first file, as JSON")
    args = parser.parse_args()
    if args.stock:
        print(json.dumps(stock(args.files[0])))
        return
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        plain = [sys.executable, __file__, "--stock", str(args.files[0])]
        if args.repeats:
            times = [
                (
                    timed(plain),
                    timed(evaluate(args.files[:1], FAST, work / "one")),
                    timed(evaluate(args.files, FAST, work / "all")),
                )
                for _ in range(args.repeats)
            ]
            median = [sorted(column)[len(column) // 2] for column in zip(*times, strict=True)]
            each = median[2] / len(args.files)
            print(f"pycocoevalcap, {args.files[0].name}: {median[0]:.1f} s")
            print(f"magic evaluate, the same file: {median[1]:.1f} s, {median[1] / median[0]:.2f} of it")
            print(
                f"magic evaluate, {len(args.files)} files at once: {median[2]:.1f} s, {each:.1f} s a file, {each / median[0]:.2f} of it",
                flush=True,
            )
        if args.spice_lib:
            words = ["--spice-lib", str(args.spice_lib), "bootstrap.samples=0"]
            one = timed(evaluate(args.files[:1], "spice", work / "s1", *words, f"metrics.spice.cache={work / 'c1'}"))
            print(f"SPICE, {args.files[0].name}, empty cache: {one:.0f} s", flush=True)
            several = [*words, f"metrics.spice.cache={work / 'c2'}"]
            everything = timed(evaluate(args.files, "spice", work / "s2", *several))
            print(
                f"SPICE, {len(args.files)} files at once, empty cache: {everything:.0f} s, {everything / one:.2f} times that",
                flush=True,
            )
            again = timed(evaluate(args.files, "spice", work / "s3", *several))
            print(f"SPICE, the same again: whole command {again:.1f} s", flush=True)
            seconds = json.loads(next((work / "s3").rglob("metrics.json")).read_text())["seconds"]
            print(f"  of which SPICE {seconds['spice']:.1f} s, tokenizer {seconds['ptb_tokenizer']:.1f} s")


if __name__ == "__main__":
    main()
