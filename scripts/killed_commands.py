"""Commands that write, each small enough to be killed hundreds of times: tiny models with random weights, tiny photos.

All files that a command reads are named relative to its working folder, ../../inputs/...: files of two starts in different
folders can be compared byte for byte.
"""

import json
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.tiny_models

INPUTS = "../../inputs"
_CLIP = ("image_text_model=clip_vit_b32", f"image_text_model.path={INPUTS}/clip", "run.threads=1")
_MODELS = (f"language_model.path={INPUTS}/language_model", *_CLIP, "decoding.k=8")
_CAPTION = ("caption", *_MODELS, "decoding.decoding_len=6", "run.batch_size=4", "run.dir=run")
_PARTS = tuple(f"interleaved_model.{part}.path={INPUTS}/interleaved/{part}" for part in ("language_model", "vision", "diffusion"))
_MAPPER = tuple(f"interleaved_model.mapper.{name}" for name in ("layers=1", "heads=2", "queries=6"))
_FEW_STEPS = ("run.accumulation=2", "run.log_every=1", "run.device=cpu", "run.threads=1", "--output", "run")


@dataclass(frozen=True)
class Command:
    """One of the commands.

    Attributes:
        words: Its command line after ``magic``.
        share: Its kills of 1,000.
        before: What is done first, undisturbed, and leaves what the command then finds: commands, and changes of the working folder.
        package: What it needs beside magic; where that is not installed it is left out.
    """

    words: Sequence[str]
    share: int
    before: Sequence[Sequence[str] | Callable[[Path], None]] = ()
    package: str = "torch"


def _take_photos(folder: Path) -> None:
    """The working folder has photos of its own; what is gone is there again."""
    shutil.copytree(folder / INPUTS / "photos", folder / "photos", dirs_exist_ok=True)


def _clear_cache(folder: Path) -> None:
    """The command that comes must encode the images itself."""
    shutil.rmtree(folder / "cache")


def _change_photos(folder: Path) -> None:
    """Some photos go, some are new, some become others."""
    photos = sorted((folder / "photos").glob("*.jpg"))
    for photo in photos[::5]:
        photo.unlink()
    for photo in photos[1::7]:
        shutil.copy(photos[3], photo.with_name(f"new-{photo.name}"))
    for photo in photos[2::9]:
        shutil.copy(photos[4], photo)


def _training(*, small: bool) -> tuple[str, ...]:
    """Steps, measurements and checkpoints of a training of a moment; ``small``: of the dearer kind."""
    steps, measure, checkpoint, batch = (6, 3, 2, 3) if small else (24, 8, 5, 4)
    return (
        f"optimizer.steps={steps}", f"validate.every={measure}", f"run.checkpoint_every={checkpoint}", f"run.batch_size={batch}", "optimizer.lr=0.005",
        *_FEW_STEPS,
    )  # fmt: skip


_WITH_REFERENCES = ("--dataset", "coco_captions", f"dataset.annotations={INPUTS}/coco.json", f"dataset.root={INPUTS}/photos")
_OWN_PHOTOS = (*_CAPTION, "--images", "photos", "run.workers=0")
COMMANDS = {
    "caption": Command((*_CAPTION, "--images", f"{INPUTS}/photos", "run.trace=true", "run.workers=1"), 200),
    "caption, no trace": Command((*_CAPTION, "--images", f"{INPUTS}/photos", "run.workers=0"), 60),
    "caption, photos changed": Command(_OWN_PHOTOS, 120, (_take_photos, _OWN_PHOTOS, _change_photos)),
    "caption, photos back": Command(_OWN_PHOTOS, 60, (_take_photos, _OWN_PHOTOS, _change_photos, _OWN_PHOTOS, _take_photos)),
    "caption by CLIPRe, run.devices=2": Command(
        ("caption", "--images", f"{INPUTS}/photos", "--decoding", "clipre", *_CLIP, "decoding.captions=mine", "run.batch_size=4",
         f"decoding.captions_file={INPUTS}/captions.txt", "decoding.folder=index", "run.dir=run", "run.devices=2"), 15,
    ),
    "caption by CLIPRe": Command(
        ("caption", "--images", f"{INPUTS}/photos", "--decoding", "clipre", *_CLIP, "decoding.captions=mine", "run.batch_size=4",
         f"decoding.captions_file={INPUTS}/captions.txt", "decoding.folder=index", "run.dir=run", "run.workers=0"), 80,
    ),
    "caption, batch_size=auto": Command(
        (*_CAPTION[:-2], "run.batch_size=auto", "run.dir=run", "--images", f"{INPUTS}/photos", "run.trace=true", "run.workers=0"), 30
    ),
    "caption from shards": Command((*_CAPTION, "--dataset", "shards", f"dataset.files={INPUTS}/shards/*.tar", "run.workers=1"), 30),
    "caption from Parquet to Parquet": Command(
        (*_CAPTION, "--dataset", "parquet", f"dataset.files={INPUTS}/photos.parquet", "run.parquet=true", "run.workers=0"), 30, package="pyarrow"
    ),
    "merge-runs": Command(
        ("merge-runs", "parts/shard-1-of-2", "parts/shard-2-of-2", "--output", "run"), 40,
        before=tuple((*_CAPTION[:-1], "run.dir=parts", f"run.shard={part}/2", "run.trace=true", "--images", f"{INPUTS}/photos") for part in (1, 2)),
    ),
    "story": Command(
        ("story", "--titles", f"{INPUTS}/titles.txt", "--retrieved", f"{INPUTS}/retrieved.jsonl", *_MODELS, "prompt=null", "decoding.alpha=0.1",
         "decoding.beta=2", "decoding.decoding_len=12", "run.batch_size=2", "run.trace=true", "run.workers=0", "run.dir=run"), 140,
    ),
    "interleave": Command(
        ("interleave", *_PARTS, "interleaved_model.vokens=null", *_MAPPER, "decoding.decoding_len=120", "max_new_tokens=12", "steps=5", "run.threads=1",
         "force_image=last", "--items", f"{INPUTS}/items.jsonl", "history=self", "run.batch_size=2", "run.trace=true", "run.dir=run"), 60,
        package="diffusers",
    ),
    "finetune-lm": Command(
        ("finetune-lm", "--texts", f"{INPUTS}/texts.txt", f"language_model.path={INPUTS}/language_model", "dataset.held_out=0.2", "run.max_length=20",
         "optimizer.dropout=0.1", *_training(small=False)), 120,
    ),
    "train-vokens": Command(
        ("train-vokens", "stage=uas", "--items", f"{INPUTS}/pictures.jsonl", *_PARTS, *_MAPPER, "optimizer.warmup_steps=1", "dataset.held_out=1",
         *_training(small=True)), 20, package="diffusers",
    ),
    "retrieve-images build": Command(
        ("retrieve-images", "build", f"{INPUTS}/photos", *_CLIP, "--index", "run", "run.batch_size=4", "--kind", "ivf", "run.workers=1"), 120,
    ),
    "evaluate": Command(
        ("evaluate", "run", "other", *_CLIP, "--metrics", "bleu,rouge_l,cider,repetition,clip_score", "--compare", "--plot", "plot",
         "bootstrap.samples=50"), 60,
        before=((*_CAPTION, *_WITH_REFERENCES), (*_CAPTION[:-1], "run.dir=other", "decoding.beta=0.5", *_WITH_REFERENCES), _clear_cache),
    ),
    "report": Command(
        ("report", "run", *_CLIP, "--metrics", "repetition,clip_score", "bootstrap.samples=50", "pictures=links"), 20,
        before=((*_CAPTION, *_WITH_REFERENCES, "run.trace=true"), _clear_cache),
    ),
    "caption, run.devices=2": Command((*_CAPTION, "--images", f"{INPUTS}/photos", "run.trace=true", "run.devices=2"), 15),
    "caption, run.engine=ray": Command(
        (*_CAPTION, "--images", f"{INPUTS}/photos", "run.trace=true", "run.engine=ray", "run.actors=1"), 5, package="ray"
    ),
}  # fmt: skip
"""By the name that the table shows. Of Ray, actors and nodes are killed by try_cluster.py."""


def build_inputs(folder: Path) -> None:
    """Models, photos and texts of all commands."""
    from tests import tiny_models

    folder.mkdir(parents=True)
    tiny_models.build_language_model_folder(folder / "language_model")
    tiny_models.build_clip_folder(folder / "clip")
    photos = _photos(folder / "photos", tiny_models.build_photos(folder / "six"))
    _write_shard(folder / "shards" / "0.tar", photos[:9], folder / "photos")
    _write_shard(folder / "shards" / "1.tar", photos[9:], folder / "photos")
    (folder / "texts.txt").write_text("".join(f"{caption}\n" for caption in tiny_models.CAPTIONS))
    (folder / "captions.txt").write_text("".join(f"{text} {i}\n" for i in range(20) for text in tiny_models.CAPTIONS))
    (folder / "titles.txt").write_text("".join(f"Title {i % 6}\tStory {i}.\n" for i in range(10)))
    ranked = lambda i: [{"image": f"photos/{photo}", "id": photo, "score": 0.3} for photo in (photos * 2)[i : i + 1 + i % 3]]
    _lines(folder / "retrieved.jsonl", [{"id": str(i), "query": f"Title {i}", "images": ranked(i)} for i in range(6)])
    names = [name for name in photos if "broken" not in name]
    _write_coco(folder / "coco.json", names, tiny_models.CAPTIONS)
    pictures = [
        {"parts": [{"text": f"a {name} ."}], "target": [{"image": f"photos/{name}", "caption": name}]} for name in names[:6]
    ]
    _lines(folder / "pictures.jsonl", pictures)
    follow = {"text": "What next?", "once": True}
    stories = [
        {
            "id": f"story {i}",
            "steps": [{"parts": [{"text": "Look:"}, {"image": f"photos/{name}"}]}, *[{"parts": [follow]}] * (i % 3)],
        }
        for i, name in enumerate(names[:5])
    ]
    _lines(folder / "items.jsonl", [*stories, {"id": "lost", "parts": [{"image": "photos/lost.jpg"}]}])


def build_interleaved(folder: Path) -> None:
    """The model of ``magic interleave``, which needs diffusers."""
    from tests.interleaved_models import build_interleaved_folders

    build_interleaved_folders(folder / "interleaved")


def build_parquet(folder: Path) -> None:
    """The photos as a column of a file, which needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    photos = sorted((folder / "photos").iterdir())
    table = pyarrow.table({"image": [photo.read_bytes() for photo in photos], "key": [photo.name for photo in photos]})
    parquet.write_table(table, folder / "photos.parquet", row_group_size=5)


BUILDERS: dict[str, Callable[[Path], None]] = {"diffusers": build_interleaved, "pyarrow": build_parquet}
"""What is made, too, for commands that need these packages."""


def _photos(folder: Path, six: Path) -> list[str]:
    """Eighteen photos, of which six differ, and one that cannot be read; returns their names."""
    folder.mkdir()
    for i in range(3):
        for photo in sorted(six.iterdir()):
            # no two files are the same: several workers would race for who encodes a copy, among which others, and so how it rounds
            (folder / f"{i}-{photo.name}").write_bytes(photo.read_bytes() + bytes(i))
    (folder / "1-broken.jpg").write_text("no picture")
    return sorted(photo.name for photo in folder.iterdir())


def _write_shard(file: Path, names: Sequence[str], photos: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name in names:
            archive.add(photos / name, name)


def _write_coco(file: Path, photos: Sequence[str], captions: Sequence[str]) -> None:
    images = [{"id": i, "file_name": name} for i, name in enumerate(photos)]
    texts = [{"id": i, "image_id": i // 2, "caption": captions[i % len(captions)]} for i in range(2 * len(photos))]
    file.write_text(json.dumps({"images": images, "annotations": texts}))


def _lines(file: Path, records: Sequence[dict]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
