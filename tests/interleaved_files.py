"""Files of VIST, MMDialog and CC3M as their owners and MiniGPT-5's released code lay them out, with what is odd about them."""

import io
import json
import tarfile
from pathlib import Path

import yaml
from PIL import Image

from magic_cli.configuration.files import find_config_dir
from magic_cli.interleaved.dialogue_prompt import DialoguePrompt
from magic_cli.interleaved.prompts import PromptSettings

SCENES = ["we lit the grill .", "uncle bob arrived .", "we ate a lot .", "the sun went down .", "fireworks at the end ."]
PHOTOS = ["5001", "5007", "5003", "5004", "5000"]
KEYS = ["2682085160072908000", "-5632896413199993000", "3433276376275926000", "-5763052819421198000"]
LONG_TURN = "Happy skyline day, travellers! " * 12 + ":camera_with_flash: Here is my town."
TURNS = [
    (LONG_TURN, KEYS[0]), ("Stunning photo. Mine is Melbourne.", KEYS[1]), ("Lovely :smiling_face_with_smiling_eyes: mine is Hong Kong", KEYS[2]),
    ("Thanks! This one is Tower Bridge :winking_face:", KEYS[3]), ("Stunning!! :growing_heart:", None), ("Thanks Sam!", None),
    ("It is a beauty :star:", None), ("I won't hide it again", None), ("No, don't!!! :beaming_face_with_smiling_eyes:", None),
]  # fmt: skip


def prompt_form(name: str):
    """The prompt form of this name, as its config file has it."""
    values = yaml.safe_load((find_config_dir() / "prompt_form" / f"{name}.yaml").read_text())
    [schema, _] = values.pop("defaults")
    return (DialoguePrompt if "dialogue" in schema else PromptSettings)(**values)


def picture(file: Path, colour: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour * 37 % 256, colour * 91 % 256, 60)).save(file)
    return file


def vist_released(folder: Path) -> Path:
    """A story of five scenes, and one of which a photo is missing."""
    scenes = [
        {"caption": text, "image_id": photo, "sequence_index": i}
        for i, (text, photo) in enumerate(zip(SCENES, PHOTOS, strict=True))
    ]
    stories = {"40470": scenes, "40471": [{**scene, "image_id": f"6{scene['image_id']}"} for scene in scenes]}
    places = {photo: f"val_images/{i:09d}.jpg" for i, photo in enumerate(PHOTOS)}
    for i, place in enumerate(places.values()):
        picture(folder / place, i)
    places |= {f"6{photo}": f"val_images/{photo}.jpg" for photo in PHOTOS[:3]}
    (folder / "val_cleaned.json").write_text(json.dumps(stories, indent=4))
    (folder / "val_image_mapping.json").write_text(json.dumps(places, indent=4))
    return folder / "val_cleaned.json"


def vist_official(folder: Path) -> Path:
    """The same story as the owners have it, scenes in any order; photos in folders of their own, two of them no JPEG."""
    annotations = []
    for i in (3, 0, 4, 1, 2):
        row = {"original_text": SCENES[i].replace("bob", "Bob").capitalize(), "album_id": "44277", "photo_flickr_id": PHOTOS[i], "tier": "story-in-sequence",
               "setting": "first-2-pick-and-tell", "worker_arranged_photo_order": i, "text": SCENES[i], "story_id": "40470", "storylet_id": str(202350 + i)}  # fmt: skip
        annotations.append([row])
    for i, photo in enumerate(PHOTOS):
        picture(folder / "images" / "val" / f"{photo}{'.png' if i % 2 else '.jpg'}", i)
    document = {
        "images": [{"id": photo, "album_id": "44277"} for photo in PHOTOS],
        "albums": [],
        "annotations": annotations,
        "type": "vist",
        "info": {},
    }
    (folder / "val.story-in-sequence.json").write_text(json.dumps(document))
    return folder / "val.story-in-sequence.json"


def dialogue_line(number, turns, *, with_negatives=True) -> str:
    conversation = [{"turn": [{"__TEXT__": text}, *([{"__MEDIA__": key}] if key else [])]} for text, key in turns]
    negatives = (
        {"negative_candidate_media_keys": ["77", "-78"], "negative_candidate_texts": ["no", "never"]} if with_negatives else {}
    )
    return json.dumps({"conversation_id": number, "conversation": conversation} | negatives) + "\n"


def mmdialog(folder: Path, *dialogues, keys=KEYS) -> Path:
    """A file of dialogues with ids from 0; of none, of the nine turns. Photos of these keys are there."""
    for i, key in enumerate(keys):
        picture(folder / f"{key}.jpg", i)
    file = folder / "test_conversations.txt"
    file.write_text("".join(dialogue_line(i, turns) for i, turns in enumerate(dialogues or [TURNS])), encoding="utf-8")
    return file


def cc3m_table(folder: Path, rows: int = 2) -> Path:
    """A table with CRLF line ends, as the released sample has them."""
    lines = ["caption\timage_path"]
    for i in range(rows):
        picture(folder / "val" / f"{i:09d}.jpg", i)
        lines.append(f"Burning candle #{i} (in the aquarium)  with small fish .\tval/{i:09d}.jpg")
    (folder / "cc3m_val.tsv").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    return folder / "cc3m_val.tsv"


def tar_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
