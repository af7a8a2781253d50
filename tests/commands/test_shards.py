"""run.shard=i/n and `magic merge-runs`: the parts together are the whole run, byte for byte; what is no whole is refused."""

import json
import shutil
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from tests.commands.test_interleave import stories, words  # noqa: F401 - fixtures
from tests.files import lines

EXPORTS = ("coco_results.json", "released_format.json", "index.html")
FILES = ("predictions.jsonl", "failures.jsonl", *EXPORTS)

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def files_of(folder, names=FILES) -> dict[str, bytes]:
    return {name: file.read_bytes() for name in names if (file := Path(folder, name)).exists()}


@pytest.fixture(scope="module")
def seven_photos(tiny_photos, tmp_path_factory):
    """A folder of seven photos, of which one is damaged and stands in the middle."""
    photos = shutil.copytree(tiny_photos, tmp_path_factory.mktemp("seven") / "photos")
    (photos / "m.jpg").write_bytes(b"no picture")
    return photos


@pytest.fixture(scope="module")
def captions(seven_photos, tiny_language_model_folder, tiny_clip_folder):
    """A command on the seven photos; sampled, so that seeds count."""
    return [
        "caption", "--images", str(seven_photos), "--decoding", "nucleus", f"language_model.path={tiny_language_model_folder}",
        "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}", "decoding.decoding_len=10", "run.threads=1",
        "run.batch_size=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def big(captions, tmp_path_factory):
    """The run folders of three parts in one folder, which tests copy."""
    folder = tmp_path_factory.mktemp("parts") / "big"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        assert main([*captions, "-m", f"run.dir={folder}", "run.shard=2/3,1/3,3/3"]) == 3
    return folder


@pytest.fixture
def parts(big, in_tmp_path):
    """Run folders of three parts, which a test may change."""
    shutil.copytree(big, "big")
    return [f"big/shard-{number}-of-3" for number in (1, 2, 3)]


@pytest.mark.parametrize("count", [1, 9])
def test_parts_of_captions_make_the_whole_run(count, captions, capsys):
    assert main([*captions, "run.dir=whole", "run.trace=true"]) == 3
    shards = ",".join(f"{number}/{count}" for number in range(1, count + 1))
    assert main([*captions, "-m", "run.dir=big", f"run.shard={shards}", "run.trace=true"]) == 3
    capsys.readouterr()
    assert main(["merge-runs", *map(str, sorted(Path("big").iterdir(), reverse=True)), "--output", "merged"]) == 0
    out, err = capsys.readouterr()
    assert out == "merged\n" and f"{count} part" in err and "6 texts, 1 item without" in err
    assert files_of("merged") == files_of("whole") and len(files_of("whole")) == 4
    assert {line["id"] for line in lines("merged/trace.jsonl")} == {line["id"] for line in lines("whole/trace.jsonl")}
    merged, whole = (json.loads(Path(folder, "manifest.json").read_text()) for folder in ("merged", "whole"))
    assert merged["counts"] == whole["counts"] and merged["identity"] == whole["identity"]
    assert merged["status"] == "complete" and len(merged["sessions"]) == count


def test_merged_run_is_taken_for_the_whole_run_by_other_commands(parts, captions, capsys):
    assert main(["merge-runs", "big/shard-*", "--output", "merged"]) == 0
    before = files_of("merged")
    capsys.readouterr()
    assert main([*captions, "run.dir=merged"]) == 3
    assert "nothing new" in capsys.readouterr().err
    assert files_of("merged") == before


def test_stories_for_images_of_one_title_may_stand_in_two_parts(models, tiny_photos):
    photos = [str(photo) for photo in sorted(tiny_photos.iterdir())]
    titles = [
        {"id": "1", "query": "A red bus", "images": [{"image": photo, "score": 0.3} for photo in photos[:4]]},
        {"id": "2", "query": "The dog", "images": [{"image": photo, "score": 0.3} for photo in photos[4:6]]},
    ]
    Path("titles.txt").write_text("A red bus\tIt drove.\nThe dog\tA dog ran.\n")
    Path("retrieved.jsonl").write_text("".join(json.dumps(record) + "\n" for record in titles))
    own = [word for word in models if "decoding_len" not in word]
    story = ["story", "--titles", "titles.txt", "--retrieved", "retrieved.jsonl", *own, "decoding.decoding_len=24"]
    story += ["dataset.images_per_title=4", "prompt=null"]
    assert main([*story, "run.dir=whole"]) == 0
    assert len(lines("whole/predictions.jsonl")) == 6
    assert main([*story, "-m", "run.dir=big", f"run.shard={','.join(f'{number}/7' for number in range(1, 8))}"]) == 0
    assert main(["merge-runs", "big/*", "--output", "merged"]) == 0
    assert files_of("merged") == files_of("whole")
    facts = [json.loads(Path(folder, "manifest.json").read_text())["stories_by_rank"] for folder in ("merged", "whole")]
    assert facts[0] == facts[1]


def test_parts_of_illustrated_stories_bring_their_images(words, stories):
    pytest.importorskip("diffusers")
    command = [*words, "--items", str(stories), "history=self"]
    assert main([*command, "run.dir=whole"]) == 3
    assert main([*command, "-m", "run.dir=big", "run.shard=1/2,2/2"]) == 3
    assert main(["merge-runs", "big/*", "--output", "merged"]) == 0
    assert files_of("merged") == files_of("whole")
    pictures = [{file.name: file.read_bytes() for file in Path(folder, "images").iterdir()} for folder in ("merged", "whole")]
    assert pictures[0] == pictures[1] and pictures[0]


def edit_manifest(folder, change) -> None:
    file = Path(folder, "manifest.json")
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_what_makes_no_whole_is_one_line(parts, captions, photos, capsys):
    def refused(*folders, output="merged") -> str:
        capsys.readouterr()
        assert main(["merge-runs", *folders, "--output", output]) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    one, two, three = parts
    assert "part 2 of 3 is missing; write it with run.shard=2/3" in refused(one, three)
    shutil.copytree(two, "again")
    assert "big/shard-2-of-3 and again are both part 2" in refused(*parts, "again")
    assert "nowhere names no folder" in refused(one, "nowhere")
    assert "photos is no run folder" in refused(one, "photos")
    assert main([*captions, "run.dir=whole"]) == 3
    assert "whole is no part of a run, but a whole one" in refused(*parts, "whole")
    assert "output=whole: holds a run already" in refused(*parts, output="whole")
    assert main([*captions, "run.dir=other", "run.shard=2/3", "decoding.p=0.5"]) == 3
    assert "of different runs (decoding.p 0.95 -> 0.5)" in refused(one, "other/shard-2-of-3", three)
    assert main([*captions, "run.dir=other", "run.shard=2/4"]) in (0, 3)
    assert "of different runs (run.shard.parts 3 -> 4)" in refused(one, "other/shard-2-of-4", three)
    edit_manifest("again", lambda manifest: manifest.update(status="interrupted"))
    assert "again is not finished: 2 of 2 items are done; start its command with run.shard=2/3" in refused(one, "again", three)
    edit_manifest("again", lambda manifest: (manifest.update(status="complete"), manifest["shard"].update(ids_sha256="0")))
    assert "the data set had other items when again was written" in refused(one, "again", three)
    shutil.copy(f"{two}/manifest.json", "again/manifest.json")
    edit_manifest("again", lambda manifest: manifest["models"]["language_model"]["files"].update({"config.json": "0"}))
    assert "of different runs (language_model.files.config.json" in refused(one, "again", three)
    shutil.copy(f"{two}/manifest.json", "again/manifest.json")
    with open("again/failures.jsonl", "a") as file:
        file.write('{"id": "x", "reason": "y"}\n')
    assert "again/failures.jsonl: has 2 lines, and manifest.json says 1" in refused(one, "again", three)
    assert (
        not Path("merged/predictions.jsonl").exists()
        or json.loads(Path("merged/manifest.json").read_text())["status"] == "merging"
    )
    assert main(["merge-runs", *parts, "--output", "merged"]) == 0, "a merge that failed or was killed is begun anew"


@pytest.mark.parametrize("value", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2", "1/999999"])
def test_other_values_are_one_line(value, captions, capsys):
    assert main([*captions, f"run.shard={value}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("magic: run.shard must be PART/PARTS, such as 2/8")


@pytest.mark.long
def test_slurm_launcher_writes_the_parts_as_jobs(captions, capsys):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `slurm`")
    assert main([*captions, "run.dir=whole"]) == 3
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    assert main([*captions, "-m", "run.dir=big", "run.shard=1/2,2/2", *launcher]) == 3
    assert main(["merge-runs", "big/*", "--output", "merged"]) == 0
    assert files_of("merged") == files_of("whole")


def test_folder_of_a_part_is_continued_as_that_part_only(parts, captions, capsys):
    before = files_of(parts[1])
    shutil.copytree(parts[1], "moved/shard-1-of-3")
    for more in (["run.dir=big/shard-2-of-3"], ["run.dir=moved", "run.shard=1/3"]):
        capsys.readouterr()
        assert main([*captions, *more]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "holds part 2 of 3 of a data set, and" in line
    assert files_of(parts[1]) == before and main(["merge-runs", *parts, "--output", "merged"]) == 0
    edit_manifest(parts[1], lambda manifest: (manifest.pop("shard"), manifest.update(status="running")))
    Path(parts[1], "predictions.jsonl").unlink()
    assert main([*captions, "run.dir=big", "run.shard=2/3"]) == 3, "a start that was killed before it said which part"
    assert files_of(parts[1]) == before


def refused(parts, capsys) -> str:
    capsys.readouterr()
    assert main(["merge-runs", *parts, "--output", "merged"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert not Path("merged/predictions.jsonl").exists()
    return line


def test_what_a_part_has_lost_is_one_line(parts, capsys):
    two = Path(parts[1])
    for name, message in {
        "coco_results.json": "shard-2-of-3 has no coco_results.json, and big/shard-1-of-3 has one",
        "released_format.json": "shard-2-of-3 has no released_format.json",
        "predictions.jsonl": "predictions.jsonl: has 0 lines, and manifest.json says 1",
        "failures.jsonl": "failures.jsonl: has 0 lines, and manifest.json says 1",
    }.items():
        kept = (two / name).read_bytes()
        (two / name).unlink()
        assert message in refused(parts, capsys)
        (two / name).write_bytes(kept)
    Path(two, "coco_results.json").write_text("[]\n")
    assert main(["merge-runs", *parts, "--output", "other"]) == 2
    assert "coco_results.json: holds 0 entries, and manifest.json says 1" in capsys.readouterr().err


def test_item_in_two_parts_is_one_line(parts, capsys):
    first = Path(parts[0], "predictions.jsonl").read_text().splitlines(keepends=True)
    Path(parts[2], "predictions.jsonl").write_text(
        "".join([first[0], *Path(parts[2], "predictions.jsonl").read_text().splitlines(keepends=True)[1:]])
    )
    assert (
        f"predictions.jsonl line 1: the id {json.loads(first[0])['id']!r} stands in big/shard-1-of-3/predictions.jsonl"
        in refused(parts, capsys)
    )
    Path(parts[2], "predictions.jsonl").write_text(
        "{\n" * json.loads(Path(parts[2], "manifest.json").read_text())["counts"]["predictions"]
    )
    assert "shard-3-of-3/predictions.jsonl line 1: " in refused(parts, capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(shard={"part": 2}), "shard must be an object with part, parts, items"),
        (lambda manifest: manifest.update(batch_size={"device": "cpu"}), "batch_size must be an object with what"),
        (lambda manifest: manifest["counts"].pop("failures"), "counts has no failures"),
        (lambda manifest: manifest["counts"].update(planned=7, predictions=6), "holds 7 items, but part 2 of 3 has 2"),
    ],
)
def test_manifest_that_was_edited_is_one_line(change, message, parts, capsys):
    edit_manifest(parts[1], change)
    assert message in refused(parts, capsys)
