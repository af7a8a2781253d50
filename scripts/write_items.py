"""Write a data set of texts and images in turn as the file of items that `magic train-vokens` and `magic interleave --items` read.

    python scripts/write_items.py dataset=vist_train dataset.annotations=data/vist/train_cleaned.json --output vist_train.jsonl
    python scripts/write_items.py dataset=mmdialog_train --tokenizer lmsys/vicuna-7b-v1.5 --output mmdialog_train.jsonl

The words are settings of `magic interleave`; its --help names the data sets. --tokenizer, a folder or a hub id, counts the tokens of
dataset.max_tokens. Beside the output, <name>.left_out.jsonl lists what is not in it, with the reason. Images are named by their absolute
paths. Give the training the same prompt: prompt_form=vist, mmdialog or cc3m.
"""

import argparse
import json
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from magic_cli.configuration.composing import register, to_settings
from magic_cli.configuration.files import find_config_dir
from magic_cli.data.mmdialog import MmDialogDataset
from magic_cli.errors import MagicError
from magic_cli.files import json_lines, write_atomically
from magic_cli.interleaved.run_settings import InterleaveSettings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="SETTING", help="such as dataset=vist_train dataset.annotations=FILE")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON lines")
    parser.add_argument("--tokenizer", metavar="NAME", help="of the model that is trained; for dataset.max_tokens")
    args = parser.parse_args()
    try:
        return write(args)
    except (MagicError, OmegaConfBaseException, HydraException, OSError) as error:
        print(f"write_items: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2


def write(args: argparse.Namespace) -> int:
    """Write the items; returns the exit status."""
    register()
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        dataset = to_settings(compose("interleave", args.words), InterleaveSettings).dataset
    if isinstance(dataset, MmDialogDataset) and args.tokenizer:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
        dataset.connect(lambda text: len(tokenizer(text, add_special_tokens=False).input_ids))
    items = dataset.load()
    records = []
    for item in items:
        record = item.as_record()
        for step in record.get("steps", [record]):
            for part in (*record.get("history", []), *step["parts"], *step.get("target", [])):
                if "image" in part:
                    part["image"] = str(Path(part["image"]).absolute())
        records.append(record)
    write_atomically(args.output, json_lines(records))
    left_out = args.output.with_name(f"{args.output.stem}.left_out.jsonl")
    write_atomically(
        left_out,
        "".join(json.dumps({"id": item, "reason": reason}, ensure_ascii=False) + "\n" for item, reason in dataset.left_out()),
    )
    steps = sum(len(item.steps) for item in items)
    print(f"{args.output}: {len(items)} items, {steps} steps; {len(dataset.left_out())} left out ({left_out})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
