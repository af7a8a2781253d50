"""Write a data set of texts and images in turn as the file of items that `magic train-vokens` and `magic interleave --items` read.

    python scripts/write_items.py dataset=vist_train dataset.annotations=data/vist/train_cleaned.json --output vist_train.jsonl
    python scripts/write_items.py dataset=mmdialog_train --tokenizer lmsys/vicuna-7b-v1.5 --output mmdialog_train.jsonl

The words are settings of `magic interleave`; its --help names the data sets. --tokenizer, a folder or a hub id, counts the tokens of
dataset.max_tokens. Beside the output, <name>.left_out.jsonl lists what is not in it, with the reason. Images are named by their absolute
paths. Give the training the same prompt: prompt_form=vist, mmdialog or cc3m.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from magic_cli.configuration.composing import register, to_settings
from magic_cli.configuration.files import find_config_dir
from magic_cli.data.interleaved import HINT, InterleavedItem
from magic_cli.data.mmdialog import MmDialogDataset
from magic_cli.errors import MagicError
from magic_cli.files import as_bytes, json_lines, replacing
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
    left_out_file = args.output.with_name(f"{args.output.stem}.left_out.jsonl")
    items = steps = left_out = 0
    with replacing(args.output) as written, replacing(left_out_file) as reasons:
        for found in dataset.stream():
            if isinstance(found, InterleavedItem):
                written.write(as_bytes(json_lines([_record(found)])))
                items, steps = items + 1, steps + len(found.steps)
            else:
                reasons.write(as_bytes(json_lines([dict(zip(("id", "reason"), found, strict=True))])))
                left_out += 1
        if not items:
            raise MagicError(f"dataset={dataset.name}: no items found; {HINT}")
    print(f"{args.output}: {items} items, {steps} steps; {left_out} left out ({left_out_file})")
    return 0


def _record(item: InterleavedItem) -> dict[str, Any]:
    """As it stands in a file of items, with absolute paths."""
    record = item.as_record()
    for step in record.get("steps", [record]):
        for part in (*record.get("history", []), *step["parts"], *step.get("target", [])):
            if "image" in part:
                part["image"] = str(Path(part["image"]).absolute())
    return record


if __name__ == "__main__":
    sys.exit(main())
