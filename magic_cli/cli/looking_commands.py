"""The commands by which people look at what was written; part of ``command_table``."""

from __future__ import annotations

from magic_cli.cli.command import Command, Flag, Words

REPORT = Command(
    name="report",
    summary="one page to look at what systems wrote: texts side by side, scores, settings, and how each word was chosen",
    settings_class="magic_cli.report_page.settings.ReportSettings",
    words=Words("systems", "RUN...", "run folders, prediction files, folders of retrieved images, also as patterns"),
    flags={
        "--output": Flag("output", "the page, NAME.html", "FILE", True),
        "--title": Flag("title", "heading of the page", "TEXT"),
        "--references": Flag("references", "reference captions, where the predictions bring none", "FILE", True),
        "--images": Flag("images", "folder of the images, where the predictions do not say it", "FOLDER", True),
        "--retrieved": Flag("retrieved", "images of stories written without one", "FILE", True),
        "--metrics": Flag("metrics.names", "score by these, e.g. --metrics bleu,cider", "NAMES", is_list=True),
        "--sample": Flag("sample", "only so many items, at equal distances: for large runs", "NUMBER"),
        "--common": Flag("only_common", "only the images that all systems captioned", value="true"),
    },
    examples=(
        "magic report runs/caption/coco-magic-1a2b3c4d",
        "magic report 'runs/caption/coco-*' --output coco.html",
        "magic report magic.json nucleus.json --references refs.json --images photos/ pictures=links",
        "magic report runs/interleave/items-nucleus-1a2b3c4d",
        "magic report found/",
    ),
)
LIVE = Command(
    name="live",
    summary="a page on this machine: a photo, several methods, their captions token by token (extra `live`)",
    settings_class="magic_cli.configuration.live_settings.LiveSettings",
    flags={
        "--port": Flag("port", "where the page is; 0: a free port", "NUMBER"),
        "--language-model": Flag("language_models", "who may write (repeat for more)", "NAME", is_list=True),
        "--image-text-model": Flag("image_text_models", "who may look (repeat for more)", "NAME", is_list=True),
    },
    examples=("magic live", "magic live --port 0 --language-model my_model/ --image-text-model embedded"),
)
