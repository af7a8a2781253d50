"""``magic caption`` on webdataset shards and Parquet files: the texts of a folder, found again by evaluations and reports."""

import io
import json
import os
import tarfile
from pathlib import Path

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from magic_cli.cli.main import main
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def write_shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def packed(photos):
    """The photos in two shards, the second with a broken one, and in one Parquet file."""
    files = sorted(photos.iterdir())
    members = [[(f.name, f.read_bytes()), (f"{f.stem}.txt", f"a photo of {f.stem}".encode())] for f in files]
    write_shard("0.tar", sum(members[:3], []))
    write_shard("1.tar", [*sum(members[3:], []), ("broken.png", b"12345")])
    table = pyarrow.table({"image": [f.read_bytes() for f in files], "key": [f.name for f in files]})
    parquet.write_table(table, "photos.parquet", row_group_size=2)
    return files


def texts(folder):
    return [(line["caption"], line["token_ids"], line["image_sha256"]) for line in lines(Path(folder, "predictions.jsonl"))]


def test_packed_photos_get_the_captions_of_a_folder(packed, models, capsys):
    assert main(["caption", "--images", "photos", *models, "run.dir=folder"]) == 0
    shards = ["caption", "--dataset", "shards", "dataset.files=*.tar", *models]
    assert main([*shards, "run.dir=shards", "run.workers=1"]) == 3
    assert texts("shards") == texts("folder")
    [first, *_] = lines(Path("shards/predictions.jsonl"))
    name = packed[0].name
    assert (first["id"], first["image"]) == (f"0/{packed[0].stem}", f"{os.getcwd()}/0.tar/{name}")
    assert first["references"] == [f"a photo of {packed[0].stem}"]
    [failure] = lines(Path("shards/failures.jsonl"))
    assert failure["id"] == "1/broken" and failure["reason"] == "UnidentifiedImageError: cannot identify image file broken.png"
    rows = ["caption", "--dataset", "parquet", "dataset.files=photos.parquet", *models]
    assert main([*rows, "run.dir=rows", "dataset.id=key", "run.workers=2", "run.batch_size=1"]) == 0
    assert texts("rows") == texts("folder")
    assert [line["id"] for line in lines(Path("rows/predictions.jsonl"))] == [file.name for file in packed]
    assert main([*shards, "run.dir=processes", "run.devices=2", "run.batch_size=2"]) == 3
    for name in ("predictions.jsonl", "failures.jsonl", "coco_results.json"):
        assert Path("processes", name).read_bytes() == Path("shards", name).read_bytes()


def test_images_of_shards_are_looked_at_again_only_where_their_file_has_changed(packed, models, capsys, monkeypatch):
    words = ["caption", "--dataset", "shards", "dataset.files=*.tar", *models, "run.dir=out", "run.workers=0"]
    assert main(words) == 3
    before = Path("out/predictions.jsonl").read_bytes()
    read = []
    with monkeypatch.context() as patch:
        patch.setattr("magic_cli.runs.run.digest_of", lambda image: read.append(str(image)))
        assert main(words) == 3 and read == [] and Path("out/predictions.jsonl").read_bytes() == before
    members = [(packed[0].name, packed[5].read_bytes()), *((f.name, f.read_bytes()) for f in packed[1:3])]
    write_shard("0.tar", members)
    capsys.readouterr()
    assert main(["caption", "--dataset", "shards", "dataset.files=*.tar", *models, "run.dir=again"]) == 3
    assert main(words) == 3
    assert f"1 image has changed since it was captioned and is captioned again, 0/{packed[0].stem}" in capsys.readouterr().err
    assert texts("out") == texts("again")


def test_photos_behind_addresses_get_the_captions_of_files(packed, models, monkeypatch, capsys):
    system = fsspec.filesystem("memory")
    for file in packed:
        system.pipe(f"/photos/{file.name}", file.read_bytes())
    assert main(["caption", "--images", "photos", *models, "run.dir=folder"]) == 0
    words = [word for file in packed for word in ("--image", f"memory://photos/{file.name}")]
    missing = ["--image", "memory://photos/none.jpg"]
    assert main(["caption", *words, *missing, *models, "run.dir=files", "run.workers=1"]) == 3
    assert main(["caption", "--images", "memory://photos", *models, "run.dir=away", "run.workers=0"]) == 0
    assert texts("files") == texts("away") == texts("folder")
    [failure] = lines(Path("files/failures.jsonl"))
    assert failure == {"id": "none.jpg", "image": missing[1], "reason": f"there is no file {missing[1]}"}
    assert main(["evaluate", "files", "--metrics", "clip_score", *models[1:3], "run.threads=1"]) == 0
    assert json.loads(Path("files/metrics.json").read_text())["metrics"]["clip_score"]["value"] is not None
    assert main(["report", "files", "--metrics", "repetition"]) == 0
    assert Path("files/report.html").read_text().count("data:image/webp;base64,") == len(packed)
    capsys.readouterr()
    assert main(["caption", *words, *missing, *models, "run.dir=files", "run.workers=0"]) == 3
    assert f"{len(packed)} captions of images behind addresses stay" in capsys.readouterr().err
    assert main(["caption", "--image", "s3://bucket/a.jpg", *models]) == 2
    assert "dataset.paths=s3://bucket/a.jpg: needs a package that is not installed" in capsys.readouterr().err
    system.rm("/photos", recursive=True)


def test_run_on_shards_is_scored_shown_and_exported(packed, models, capsys):
    words = ["caption", "--dataset", "shards", "dataset.files=*.tar", *models]
    assert main([*words, "run.dir=out"]) == 3 and not Path("out/predictions.parquet").exists()
    assert main([*words, "run.dir=out", "run.parquet=true"]) == 3
    rows = parquet.read_table("out/predictions.parquet").to_pylist()
    assert rows == [{**dict.fromkeys(rows[0]), **line} for line in lines(Path("out/predictions.jsonl"))]
    assert main(["evaluate", "out", "--metrics", "bleu,clip_score", *models[1:3], "run.threads=1"]) == 0
    assert json.loads(Path("out/metrics.json").read_text())["metrics"]["clip_score"]["value"] is not None
    assert main(["report", "out", "--metrics", "bleu"]) == 0
    page = Path("out/report.html").read_text()
    assert page.count("data:image/webp;base64,") == len(packed)
