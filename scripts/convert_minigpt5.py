"""The authors' checkpoints of MiniGPT-5 as a folder for magic, and MiniGPT-4's projection as a file for it.

    python scripts/convert_minigpt5.py stage1_cc3m.ckpt stage2_vist.ckpt --output minigpt5_vist
    python scripts/convert_minigpt5.py --projection prerained_minigpt4_7b.pth --output minigpt4_projection.safetensors

Then: magic interleave --interleaved-model minigpt5_7b interleaved_model.vokens=minigpt5_vist
      interleaved_model.vision.projection=minigpt4_projection.safetensors
Stage one comes first; a checkpoint of stage two alone lacks what stage one trained. Weights are read, nothing is run.
"""

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

from magic_cli.errors import MagicError
from magic_cli.interleaved.released import convert_checkpoints, convert_projection


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--projection", type=Path, metavar="FILE", help="MiniGPT-4's checkpoint")
    parser.add_argument("--num-vokens", type=int, default=8)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(words)
    if bool(given.checkpoints) == bool(given.projection):
        parser.error("give checkpoints, or --projection FILE")
    try:
        if given.projection:
            save_file(convert_projection(given.projection), given.output)
        else:
            convert_checkpoints(given.checkpoints, given.num_vokens).save(given.output)
    except MagicError as error:
        print(f"convert_minigpt5: {error}", file=sys.stderr)
        return 2
    print(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
