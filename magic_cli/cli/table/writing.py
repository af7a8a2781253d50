"""The commands that write captions, stories, and texts and images in turn."""

from __future__ import annotations

from magic_cli.cli.command import Command, Flag
from magic_cli.cli.table.shared_flags import (
    BASE,
    DECODING,
    IMAGE_TEXT_MODEL,
    INTERLEAVED_MODEL,
    LANGUAGE_MODEL,
    RUN_DIR,
    experiment,
    meaning,
)

_OWN_IMAGES = {
    "folder": "--images {}",
    "image": "--image {}",
    "file": "--dataset coco_captions dataset.annotations={} dataset.root=FOLDER",
}

CAPTION = Command(
    name="caption",
    summary="write captions for images",
    resumes=True,
    stdin="dataset.root",
    settings_class="magic_cli.runs.settings.CaptionSettings",
    flags={
        "--image": Flag("dataset.paths", "caption this image (repeat for more)", "FILE", True, "dataset=files", True),
        "--images": Flag(
            "dataset.root",
            "caption all images below this folder; -: those that stdin names, one per line",
            "FOLDER",
            True,
            "dataset=photos",
        ),
        "--dataset": Flag("dataset", "a data set of images", instead=_OWN_IMAGES),
        "--decoding": DECODING,
        "--base": BASE,
        "--language-model": LANGUAGE_MODEL,
        "--image-text-model": IMAGE_TEXT_MODEL,
        "--experiment": experiment("one row of a table, e.g. table1/coco_magic"),
        "--prompt": Flag("prompt", "words that open every caption", "TEXT"),
        "--run-dir": RUN_DIR,
    },
    examples=(
        "magic caption --image my.jpg",
        "magic caption --images holiday/ decoding.beta=1 run.trace=true",
        "magic caption --dataset coco",
        "magic caption --dataset coco --decoding nucleus run.repeats=3",
        "magic caption --image my.jpg --decoding rerank --base top_k decoding.num=32",
        "magic caption -m --dataset coco decoding.alpha=0.1,0.3 decoding.beta=1,2 decoding.k=25,45",
        "magic caption --image my.jpg language_model.path=DIR image_text_model=siglip",
    ),
)
STORY = Command(
    name="story",
    summary="write stories for titles, fitting to images",
    resumes=True,
    settings_class="magic_cli.runs.settings.StorySettings",
    flags={
        "--title": Flag("dataset.title", "write about this title (repeat for more)", "TEXT", also="dataset=title", is_list=True),
        "--titles": Flag("dataset.titles", "a file of title<TAB>story, or JSON lines", "FILE", True, "dataset=titles"),
        "--dataset": Flag("dataset", "a data set of titles", instead={"file": "--titles {}"}),
        "--image": Flag("dataset.image", "the image of --title", "FILE", True),
        "--retrieved": Flag("dataset.retrieved", "images for the titles, from `magic retrieve-images query`", "FILE", True),
        "--decoding": DECODING,
        "--language-model": LANGUAGE_MODEL,
        "--image-text-model": IMAGE_TEXT_MODEL,
        "--experiment": experiment("one row of a table, e.g. table3/story_magic"),
        "--prompt": Flag("prompt", "what opens every story, with {title} in it", "TEXT"),
        "--run-dir": RUN_DIR,
    },
    examples=(
        'magic story --title "Sand Volleyball" --image beach.jpg',
        "magic story --titles titles.txt --retrieved retrieved.jsonl",
        "magic story --dataset rocstories --retrieved retrieved.jsonl",
        "magic story --dataset rocstories --decoding contrastive",
        "magic story --dataset rocstories --decoding nucleus run.repeats=3",
    ),
)
INTERLEAVE = Command(
    name="interleave",
    summary="write texts and draw images in turn: one step, or an illustrated story",
    resumes=True,
    settings_class="magic_cli.interleaved.run_settings.InterleaveSettings",
    renamed={"prompt_form": "prompt_form@prompt"},
    flags={
        "--part": Flag(
            "dataset.parts",
            "a text, or image:FILE, to continue (repeat for more, in order)",
            "TEXT",
            also="dataset=parts",
            is_list=True,
        ),
        "--items": Flag("dataset.items", "JSON lines of items or stories", "FILE", True, "dataset=items"),
        "--dataset": Flag("dataset", "a data set of texts and images"),
        "--experiment": experiment("one row of a table, e.g. minigpt5/vist_both"),
        "--decoding": DECODING,
        "--base": BASE,
        "--interleaved-model": INTERLEAVED_MODEL,
        "--vokens": Flag("interleaved_model.vokens", "the folder that `magic train-vokens` wrote", "FOLDER", True),
        "--image-text-model": meaning(IMAGE_TEXT_MODEL, "the model that guides magic and rerank"),
        "--run-dir": RUN_DIR,
    },
    examples=(
        'magic interleave --part "draw a red circle" guidance=3',
        'magic interleave --part "a circle" --part image:circle.png --part "what comes next ?" dataset.num_steps=5 "dataset.again=what comes next ?" history=self',
        "magic interleave --items stories.jsonl --vokens vokens/ history=self guidance=3 steps=20 scheduler=ddim",
        "magic interleave -m --items stories.jsonl context=none,text,image,both",
        "magic interleave --dataset vist dataset.annotations=val_cleaned.json dataset.limit=100",
    ),
)
