"""The commands that show what was written, caption a photo on a page, and find images."""

from __future__ import annotations

from magic_cli.cli.command import Action, Command, Flag, Words
from magic_cli.cli.table.shared_flags import COMMON, IMAGE_TEXT_MODEL, IMAGES, METRICS, REFERENCES, RETRIEVED, meaning

LIVE = Command(
    name="live",
    summary="a page on this machine: a photo, several methods, their captions token by token (extra `live`)",
    settings_class="magic_cli.configuration.live_settings.LiveSettings",
    flags={
        "--port": Flag("port", "port of the page; 0: a free one", "NUMBER"),
        "--language-model": Flag("language_models", "a model to choose from (repeat for more)", "NAME", is_list=True),
        "--image-text-model": Flag("image_text_models", "a model to choose from (repeat for more)", "NAME", is_list=True),
    },
    examples=("magic live", "magic live --port 0 --language-model my_model/ --image-text-model embedded"),
)
REPORT = Command(
    name="report",
    summary="one page to look at what systems wrote: texts side by side, scores, settings, and how each word was chosen",
    settings_class="magic_cli.report_page.settings.ReportSettings",
    words=Words("systems", "RUN...", "run folders, prediction files, folders of retrieved images, also as patterns"),
    flags={
        "--output": Flag("output", "the page, NAME.html", "FILE", True),
        "--title": Flag("title", "heading of the page", "TEXT"),
        "--references": REFERENCES,
        "--images": meaning(IMAGES, "folder of the images, if they are not where the predictions say"),
        "--retrieved": meaning(RETRIEVED, "images for stories written without one"),
        "--metrics": meaning(METRICS, "score by these, e.g. --metrics bleu,cider"),
        "--sample": Flag("sample", "only so many items, at equal distances: for large runs", "NUMBER"),
        "--common": COMMON,
    },
    examples=(
        "magic report runs/caption/coco-magic-1a2b3c4d",
        "magic report 'runs/caption/coco-*' --output coco.html",
        "magic report magic.json nucleus.json --references refs.json --images photos/ pictures=links",
        "magic report runs/interleave/items-nucleus-1a2b3c4d",
        "magic report found/",
    ),
)
RETRIEVE_IMAGES = Command(
    name="retrieve-images",
    summary="build an index of images, and find the images that fit titles or other texts",
    resumes=True,
    settings_class="magic_cli.retrieval.image_settings.RetrieveImagesSettings",
    action=Action("action", ("build", "query"), "build an index of images, or find the images in one that fit texts"),
    words=Words("files", "FILE...", "build: folders, lists of image files, webdataset shards (*.tar); query: files of texts"),
    flags={
        "--index": Flag("index", "folder of the index", "FOLDER", True),
        "--query": Flag("queries", "look for this (repeat for more)", "TEXT", is_list=True),
        "--top-k": Flag("top_k", "images per query", "NUMBER"),
        "--kind": Flag("search.kind", "exact, ivf or hnsw"),
        "--output": Flag("output", "where a query's results are written", "FOLDER", True),
        "--image-text-model": IMAGE_TEXT_MODEL,
    },
    examples=(
        "magic retrieve-images build photos/ --index bank",
        'magic retrieve-images query --index bank --query "a dog on the beach"',
        "magic retrieve-images build 'cc3m/*.tar' --index cc3m --kind ivf --image-text-model clip_vit_b32",
        "magic retrieve-images query rocstories_test.txt --index cc3m --kind ivf --image-text-model clip_vit_b32",
    ),
)
