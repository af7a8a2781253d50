"""Reading images ahead, in real processes: order, bounds, kills."""

import fcntl
import hashlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from magic_cli.data.images import SkippedImage, UnreadableImage
from magic_cli.errors import MagicError, SettingsError
from magic_cli.image_features import reading
from magic_cli.image_features.cache import FeatureFile
from magic_cli.image_features.reading import ImageReader, ImageStream, Look, ReadImage, choose_workers
from magic_cli.runs.settings import RunSettings


@dataclass(frozen=True)
class Tally:
    """A preparation that leaves a file in a folder whenever it is called."""

    folder: Path
    seconds: float = 0.0

    def __call__(self, image):
        (self.folder / f"{time.monotonic_ns()}-{os.getpid()}").touch()
        time.sleep(self.seconds)
        return np.asarray(image).mean((0, 1))

    @property
    def count(self):
        return len(list(self.folder.iterdir()))


@pytest.fixture
def tally(tmp_path):
    (tmp_path / "tally").mkdir()
    return Tally(tmp_path / "tally")


@pytest.fixture
def paths(tiny_photos, tmp_path):
    """30 files: photos, a broken one and a missing one among them."""
    files = sorted(tiny_photos.iterdir()) * 5
    (tmp_path / "text.jpg").write_text("no picture")
    files[7], files[20] = tmp_path / "text.jpg", tmp_path / "missing.jpg"
    return files


def read_all(reader, paths, *, size=4, **options):
    with ImageStream(reader, paths, **options, ahead=2 * size) as images:
        return [image for _ in range(0, len(paths), size) for image in images.take(size)]


def plain(image):
    return str(image) if isinstance(image, UnreadableImage) else (image.digest, image.views[0].prepared.tolist())


def wait_until(condition, *, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.01)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("workers", [1, 3])
def test_images_come_in_order_whoever_reads_them(paths, clip, workers):
    reader = ImageReader(looks=(Look(clip.prepare_image),))
    expected = [reader.read(path) for path in paths]
    assert [plain(image) for image in read_all(reader, paths, workers=workers)] == [plain(image) for image in expected]
    assert expected[0].digest == hashlib.sha256(paths[0].read_bytes()).hexdigest() and expected[0].views[0].prepared.shape == (
        3,
        32,
        32,
    )
    assert "identify" in str(expected[7]) and str(expected[20]) == "no such file"
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_images_are_the_same_when_processes_are_spawned(paths, clip, monkeypatch):
    monkeypatch.setattr(reading, "_START_METHOD", "spawn")
    reader = ImageReader(looks=(Look(clip.prepare_image),))
    assert [plain(image) for image in read_all(reader, paths, workers=1)] == [plain(reader.read(path)) for path in paths]


def test_cached_image_is_not_decoded(paths, tally, tmp_path):
    features = FeatureFile(tmp_path / "cache.sqlite")
    reader = ImageReader(looks=(Look(tally, features),))
    digest = hashlib.sha256(paths[7].read_bytes()).hexdigest()
    features.insert({digest: np.arange(3, dtype=np.float32)})
    image = reader.read(paths[7])  # no picture at all
    assert image.digest == digest and image.views[0].feature.tolist() == [0, 1, 2] and tally.count == 0
    assert reader.read(paths[0]).views[0].feature is None and tally.count == 1


def test_reading_goes_on_when_the_cache_is_damaged(paths, tally, tmp_path):
    (tmp_path / "cache.sqlite").write_text("no database" * 1000)
    image = ImageReader(looks=(Look(tally, FeatureFile(tmp_path / "cache.sqlite")),)).read(paths[0])
    assert image.views[0].feature is None and image.views[0].prepared is not None


@pytest.mark.parametrize(("workers", "size"), [(0, 2), (1, 2), (3, 2), (2, 1)])
def test_no_more_than_two_batches_are_ahead(tiny_photos, tally, workers, size):
    paths = sorted(tiny_photos.iterdir()) * 20
    most = size * 2 + max(0, workers - 1) if workers else 0
    with ImageStream(ImageReader(looks=(Look(tally),)), paths, workers=workers, ahead=2 * size) as images:
        for taken in (size, 2 * size, 3 * size):
            images.take(size)
            wait_until(lambda taken=taken: tally.count >= taken + (2 * size if workers else 0), seconds=60)
            time.sleep(0.1)
            assert tally.count <= taken + most


def test_image_that_changes_while_it_is_read_is_refused(paths, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(paths[0].read_bytes())

    def replace(image):
        photo.write_bytes(paths[1].read_bytes())

    assert str(ImageReader(looks=(Look(replace),)).read(photo)) == "changed while it was read"


def test_reasons_keep_their_kind_and_no_image(tmp_path):
    from PIL import Image

    Image.new("L", (30, 30)).save(tmp_path / "grey.png")
    reason = ImageReader(skip_greyscale=True).read(tmp_path / "grey.png")
    assert type(reason) is SkippedImage and reason.__traceback__ is None and reason.__context__ is None


def test_preparation_that_fails_is_the_reason(paths):
    def fail(image):
        raise ValueError("too odd")

    assert str(ImageReader(looks=(Look(fail),)).read(paths[0])) == "the image-text model cannot take it (ValueError: too odd)"


@pytest.mark.parametrize("moment", ["taking", "elsewhere"])
def test_killed_process_is_one_clear_line(tiny_photos, tally, moment):
    paths = sorted(tiny_photos.iterdir()) * 50
    began = time.monotonic()
    with pytest.raises(MagicError, match=r"^run\.workers=2: .*ended from outside.*run\.workers=0.*$"), \
            ImageStream(ImageReader(looks=(Look(Tally(tally.folder, 0.02)),)), paths, workers=2, ahead=4) as images:  # fmt: skip
        images.take(2)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        if moment == "elsewhere":
            time.sleep(60)
        while images.take(2):
            pass
    assert time.monotonic() - began < 50
    wait_until(lambda: multiprocessing.active_children() == [], seconds=60)


def test_no_process_and_no_lock_outlives_a_killed_parent(tiny_photos, tally, tmp_path):
    paths = sorted(tiny_photos.iterdir()) * 50
    parent = os.fork()
    if not parent:
        try:
            lock = (tmp_path / "lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with ImageStream(ImageReader(looks=(Look(tally),)), paths, workers=3, ahead=6) as images:
                images.take(6)
                pids = " ".join(str(process.pid) for process in multiprocessing.active_children())
                (tmp_path / "pids.part").write_text(pids)
                (tmp_path / "pids.part").rename(tmp_path / "pids")
                time.sleep(60)
        finally:
            os._exit(1)  # the child must not return into pytest
    wait_until((tmp_path / "pids").exists, seconds=60)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3 and all(is_running(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free although they still exist
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not any(is_running(pid) for pid in pids), seconds=60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's, of its half-made iterator
def test_refused_process_is_said_and_none_stays(tiny_photos, monkeypatch):
    fork, started = os.fork, []

    def fork_once():
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(fork())
        return started[0]

    monkeypatch.setattr(os, "fork", fork_once)
    line = (
        r"^run\.workers=2: processes that read images cannot be started \(Resource temporarily unavailable\); set run\.workers=0$"
    )
    with pytest.raises(MagicError, match=line), ImageStream(ImageReader(), sorted(tiny_photos.iterdir()), workers=2, ahead=2):
        pass
    wait_until(lambda: multiprocessing.active_children() == [], seconds=60)


def test_workers_are_chosen_by_the_cores(monkeypatch):
    for cores, workers in ((1, 1), (2, 1), (6, 3), (64, 8)):
        monkeypatch.setattr("magic_cli.image_features.reading.usable_cores", lambda cores=cores: cores)
        assert choose_workers(None) == workers
    assert (choose_workers(0), choose_workers(30)) == (0, 30)


def test_negative_number_of_workers_is_refused():
    with pytest.raises(SettingsError, match=r"run\.workers must be at least 0, got -1"):
        RunSettings(workers=-1)


def test_read_image_is_small_when_sent(paths, clip):
    import pickle

    image = ImageReader(looks=(Look(clip.prepare_image),)).read(paths[0])
    assert isinstance(image, ReadImage) and len(pickle.dumps(image)) < 3 * 32 * 32 * 4 + 500


@pytest.mark.parametrize("workers", [0, 2])
def test_paths_are_asked_for_only_as_far_as_images_are_read_ahead(workers, paths):
    asked = []

    def endless():
        while True:
            for path in paths:
                asked.append(path)
                yield path

    with ImageStream(ImageReader(), endless(), workers=workers, ahead=8) as images:
        for turn in range(1, 4):
            assert len(images.take(4)) == 4
            assert len(asked) <= 4 * turn + (8 + workers if workers else 0)


def test_stream_without_images_starts_no_process(monkeypatch):
    monkeypatch.setattr(ImageStream, "_start", lambda *args: pytest.fail("a process is started"))
    with ImageStream(ImageReader(), iter(()), workers=2, ahead=2) as images:
        assert images.take(0) == images.take(3) == []
