"""CC3M as a table or as shards becomes the released code's rows."""

import io
import tarfile

import pytest
from PIL import Image

from image_shards import ImageShards
from magic_cli.data.cc3m import INSTRUCTIONS, Cc3mDataset, clean_caption
from magic_cli.data.interleaved import Part
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.prompts import Context, step_prompt
from tests.interleaved_files import cc3m_table, prompt_form, tar_member


def source(item):
    [text] = step_prompt(item, 0, [], Context.both, prompt_form("cc3m"))
    return text


def test_table_with_crlf_gives_bare_captions(tmp_path):
    items = Cc3mDataset("cc3m", captions=str(cc3m_table(tmp_path))).load()
    assert [source(item) for item in items] == [
        "burning candle 0 in the aquarium with small fish",
        "burning candle 1 in the aquarium with small fish",
    ]
    assert items[1].steps[0].target == (Part(image=tmp_path / "val/000000001.jpg", caption=source(items[1])),)
    assert items[1].steps[0].caption == source(items[1]) and items[1].id == "cc3m_1"


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("shot of the full tree .", "shot of the full tree"),
        ('A "Dog"; (or: 2) -- ~ #1!', "a dog or 2 -- 1"),
        ("ends with a line\n", "ends with a line"),
        ("tab\tstays", "tab\tstays"),
        ("...", ""),
        ("UPPER, comma's - stay?", "upper, comma's - stay?"),
    ],
)
def test_caption_is_cleaned_as_released(caption, cleaned):
    assert clean_caption(caption) == cleaned


def test_every_hundredth_row_comes_again_as_an_instruction(tmp_path):
    file = str(cc3m_table(tmp_path, 250))
    items = Cc3mDataset("cc3m", captions=file, instructions=100).load()
    assert len(items) == 253 and [item.id for item in items if "instruction" in item.id] == [
        f"cc3m_{i}_instruction" for i in (0, 100, 200)
    ]
    told = source(items[1])
    assert told in {
        f"You will be able to generate image according to command.###Human: {words} burning candle 0 in the aquarium with small fish ###Assistant:"
        for words in INSTRUCTIONS
    }
    assert (
        items[1].steps[0].caption == "burning candle 0 in the aquarium with small fish"
        and items[1].steps[0].target == items[0].steps[0].target
    )
    assert (
        len(
            {
                source(item)
                for seed in range(9)
                for item in Cc3mDataset("c", captions=file, instructions=100, seed=seed, limit=2).load()
            }
        )
        > 3
    )


def test_rows_without_image_or_caption_are_left_out_with_the_reason(tmp_path):
    file = cc3m_table(tmp_path, 3)
    (tmp_path / "val/000000001.jpg").unlink()
    file.write_bytes(file.read_bytes() + b"...\tval/000000002.jpg\r\n")
    dataset = Cc3mDataset("cc3m", captions=str(file))
    assert [item.id for item in dataset.load()] == ["cc3m_0", "cc3m_2"]
    assert dataset.left_out() == [
        ("cc3m_1", f"no image {tmp_path}/val/000000001.jpg"),
        ("cc3m_3", "nothing is left of its caption '...'"),
    ]


def test_quotes_hide_line_ends_only_as_released(tmp_path):
    file = cc3m_table(tmp_path, 3)
    lines = file.read_text().split("\n")
    lines[1:3] = ['"a dog\tval/000000000.jpg', 'says hi"\tval/000000001.jpg']
    file.write_text("\n".join(lines))
    assert [source(item) for item in Cc3mDataset("cc3m", captions=str(file)).load()] == [
        "a dog",
        "says hi",
        "burning candle 2 in the aquarium with small fish",
    ]
    items = Cc3mDataset("cc3m", captions=str(file), released=True).load()
    assert (
        len(items) == 2
        and source(items[0]) == "a dog\tval/000000000 jpg\nsays hi"
        and items[0].steps[0].target[0].image.name == "000000001.jpg"
    )


def test_shards_are_unpacked_once(tmp_path):
    shards = ImageShards(tmp_path / "shards", rows_per_shard=2)
    with shards.locked({"file": "a.tsv"}):
        for row in range(3):
            shards.open_shard(row // 2, min(3, 2 * (row // 2) + 2), again=False)
            data = io.BytesIO()
            Image.new("RGB", (8, 8), (row, 0, 0)).save(data, "JPEG")
            shards.add(row, data.getvalue(), f"A dog #{row}.", {"url": "http://x", "row": row})
        shards.finish(0, 2)
        shards.finish(1, 3)
    pattern = str(tmp_path / "shards" / "*.tar")
    items = Cc3mDataset("cc3m", captions=pattern).load()
    assert [(item.id, source(item)) for item in items] == [(f"cc3m_{i}", f"a dog {i}") for i in range(3)]
    assert all(Image.open(item.steps[0].target[0].image).size == (8, 8) for item in items)
    (tmp_path / "shards" / "00001.tar").write_bytes(b"")  # is not read again
    assert Cc3mDataset("cc3m", captions=pattern).load() == items


def test_damaged_or_foreign_shard_is_one_line(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 99)
    with pytest.raises(MagicError, match=r"dataset.captions=.*a.tar: is not a complete tar file"):
        Cc3mDataset("cc3m", captions=str(tmp_path / "a.tar")).load()
    assert not (tmp_path / "unpacked" / "a").exists()
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar_member(tar, "../000000000.txt", b"escaped")
    with pytest.raises(MagicError, match="b.tar: holds no images with captions"):
        Cc3mDataset("cc3m", captions=str(tmp_path / "b.tar")).load()
    assert not (tmp_path / "unpacked" / "000000000.txt").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a dog\thttp://x/a.jpg\n",
            "line 1: its header must be caption<TAB>image_path.*download its images with scripts/prepare_conceptual_captions.py",
        ),
        ("caption,image_path\n", "line 1: its header must be caption<TAB>image_path"),
        ("caption\timage_path\na\tb\tc\n", "line 2: has 3 columns"),
        ("", "its header must be"),
    ],
)
def test_other_tables_are_refused_in_one_line(tmp_path, text, told):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(MagicError, match=told):
        Cc3mDataset("cc3m", captions=str(tmp_path / "a.tsv")).load()


def test_settings_are_refused_in_one_line(tmp_path):
    with pytest.raises(SettingsError, match="dataset.captions is not set"):
        Cc3mDataset("cc3m")
    with pytest.raises(SettingsError, match="dataset.instructions must be at least 1, got 0"):
        Cc3mDataset("cc3m", captions="a", instructions=0)
    with pytest.raises(MagicError, match="no such file"):
        Cc3mDataset("cc3m", captions=str(tmp_path / "none.tsv")).load()
