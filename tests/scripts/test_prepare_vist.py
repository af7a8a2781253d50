"""scripts/prepare_vist.py: the owners' annotations become the released layout, with photos from a folder or from their addresses."""

import json
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from magic_cli.data.vist import VistDataset
from tests.files import lines
from tests.image_server import jpeg
from tests.interleaved_files import PHOTOS, SCENES, vist_official

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_vist.py"


def prepare(*words, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        cwd=cwd,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_annotations_and_a_folder_of_photos_become_the_released_layout(tmp_path):
    official = vist_official(tmp_path)
    with tarfile.open(tmp_path / "SIS-with-labels.tar.gz", "w:gz") as archive:
        archive.add(official, "sis/val.story-in-sequence.json")
    official.unlink()
    done = prepare("--from", tmp_path, "--images", "images", "--splits", "val", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "val with 1 of 1 stories, 5 of 5 photos" in done.stdout
        and "magic interleave --dataset vist dataset.annotations=data/vist/val_cleaned.json" in done.stdout
    )
    assert "holds 1 stories, and the owners' val file 4990" in done.stderr
    dataset = VistDataset("vist", annotations=str(tmp_path / "data/vist/val_cleaned.json"))
    [item] = dataset.load()
    assert [step.caption for step in item.steps] == SCENES and [step.target[0].image.stem for step in item.steps] == PHOTOS
    (tmp_path / "images/val/5003.jpg").unlink()
    assert prepare("--from", tmp_path, "--images", "images", "--splits", "val", cwd=tmp_path).returncode == 0
    assert lines(tmp_path / "data/vist/val_left_out.jsonl") == [{"story": "40470", "reason": "scene 2: no photo 5003"}]


@pytest.fixture
def host():
    """Serves every photo but 5004, and says which were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = b"" if "5004" in self.path else jpeg(1)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()


def test_photos_are_brought_from_their_addresses_once(tmp_path, host):
    address, asked = host
    official = vist_official(tmp_path)
    document = json.loads(official.read_text())
    for image in document["images"]:
        image["url_o"] = f"{address}/{image['id']}.jpg"
    document["images"][0]["url_m"] = document["images"][0].pop("url_o")
    official.write_text(json.dumps(document))
    done = prepare("--from", tmp_path, "--splits", "val", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out/val_images").iterdir()) == sorted(
        f"{photo}.jpg" for photo in PHOTOS if photo != "5004"
    )
    [left_out] = lines(tmp_path / "out/val_left_out.jsonl")
    assert left_out["reason"].startswith("scene 3: no photo 5004 (") and "404" in left_out["reason"]
    before = len(asked)
    assert prepare("--from", tmp_path, "--splits", "val", "--output", "out", cwd=tmp_path).returncode == 0
    assert len(asked) == before + 1  # only what is lacking
    assert json.loads((tmp_path / "out/val_image_mapping.json").read_text())["5001"] == "val_images/5001.jpg"


def test_slips_are_one_line(tmp_path):
    for words, told in (
        (["--images", "none"], "--images none: no such folder"), (["--from", "."], "has no SIS-with-labels.tar.gz; download it from"),
        (["--limit", "0"], "--limit must be at least 1, got 0"), (["--contact", "é"], "--contact must be printable ASCII"),
    ):  # fmt: skip
        done = prepare(*words, cwd=tmp_path)
        assert done.returncode != 0 and told in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
