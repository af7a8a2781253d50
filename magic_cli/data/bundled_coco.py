"""The COCO captions inside the pycocoevalcap wheel, which need no download.

pycocoevalcap ships SPICE, and SPICE's jar holds the official COCO 2014 annotation files. Only
``train2014`` is offered here: ``val2014`` holds the captions of the Karpathy validation and test images.
"""

import importlib.util
import zipfile
from pathlib import Path

from magic_cli.data.json_text import JSONFault, parse_json
from magic_cli.errors import MagicError

_MEMBER = "coco/annotations/captions_train2014.json"


def load_bundled_coco_captions() -> dict[int, list[str]]:
    """Read the 414,113 training captions of COCO 2014, grouped by image.

    Returns:
        ``{image id: captions}`` for 82,783 images. White space is collapsed; case and punctuation are kept.

    Raises:
        MagicError: pycocoevalcap is not installed or its jar lacks the file.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise MagicError("the COCO captions come with the package pycocoevalcap; pip install pycocoevalcap==1.2")
    jar = Path(spec.submodule_search_locations[0]) / "spice" / "spice-1.0.jar"
    try:
        with zipfile.ZipFile(jar) as archive:
            annotations = parse_json(archive.read(_MEMBER))["annotations"]
    except (OSError, KeyError, JSONFault, zipfile.BadZipFile) as error:
        raise MagicError(f"{jar}: no {_MEMBER} inside ({error}); pip install --force-reinstall pycocoevalcap==1.2") from error
    captions: dict[int, list[str]] = {}
    for annotation in annotations:
        captions.setdefault(annotation["image_id"], []).append(" ".join(annotation["caption"].split()))
    return captions
