"""The image cache under use by several processes, kills, damage, and disks that do not do what they should."""

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from magic_cli.image_features.cache import FeatureCache, FeatureFile, cache_folder, cache_name

FACTS = {"name": "clip", "revision": "main", "files": {"model.safetensors": "ab"}, "family": "siglip", "logit_scale": 100.0}
CIRCUMSTANCES = {"device": "cpu", "dtype": "torch.float32", "apply_exif_orientation": True, "skip_greyscale": False}


def digest(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def feature(number):
    return np.random.default_rng(number).standard_normal(512, dtype=np.float32)


def batch(numbers):
    return {digest(number): feature(number) for number in numbers}


def equal(found, numbers):
    expected = batch(numbers)
    return found.keys() == expected.keys() and all(np.array_equal(found[key], value) for key, value in expected.items())


@pytest.fixture
def file(tmp_path):
    return FeatureFile(tmp_path / "cache" / "siglip-1.sqlite")


def fork(action):
    """Run in another process; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_kept_features_come_back_to_the_bit(file):
    cache = FeatureCache(file)
    assert cache.look_up([digest(0)]) == {}
    cache.keep(batch(range(1200)))
    cache.keep({digest(3): feature(99)})
    assert equal(FeatureCache(file).look_up([digest(i) for i in range(1300)]), range(1200)), "what was kept first stays"


def test_feature_that_is_not_finite_is_not_kept(file):
    cache = FeatureCache(file)
    cache.keep({digest(0): np.array([1, np.nan], np.float32), digest(1): np.array([1, 2], np.float32)})
    assert list(cache.look_up([digest(0), digest(1)])) == [digest(1)]


@pytest.mark.parametrize(
    "changed", [{"device": "cuda"}, {"dtype": "torch.bfloat16"}, {"apply_exif_orientation": False}, {"skip_greyscale": True}]
)
def test_file_is_another_when_the_circumstances_are(changed):
    assert cache_name(FACTS, **CIRCUMSTANCES) != cache_name(FACTS, **CIRCUMSTANCES | changed)


def test_file_is_another_when_the_model_or_a_package_is(monkeypatch):
    name = cache_name(FACTS, **CIRCUMSTANCES)
    assert name == cache_name({**FACTS, "logit_scale": 20.0}, **CIRCUMSTANCES), "a temperature changes no feature"
    assert name != cache_name({**FACTS, "files": {"model.safetensors": "cd"}}, **CIRCUMSTANCES)
    assert name != cache_name({**FACTS, "family": "embedded"}, **CIRCUMSTANCES)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "99")
    assert name != cache_name(FACTS, **CIRCUMSTANCES)


def test_folder_follows_setting_then_xdg_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder(None) == tmp_path / "home" / ".cache" / "magic" / "images"
    assert cache_folder("~/mine") == tmp_path / "home" / "mine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "magic" / "images"


def test_nothing_is_lost_when_many_processes_write_and_some_are_killed(file, tmp_path):
    def write(worker):
        for step in count() if worker < 2 else range(40):  # the first two until they are killed
            FeatureCache(file).keep(batch(range(worker * 1000 + step * 8, worker * 1000 + step * 8 + 8)))
            with (tmp_path / f"done{worker}").open("ab", buffering=0) as done:
                done.write(b".")  # one for each batch

    pids = [fork(lambda worker=worker: write(worker)) for worker in range(4)]
    for number, pid in enumerate(pids[:2]):
        while not (tmp_path / f"done{number}").exists() or not (tmp_path / f"done{number}").stat().st_size:
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
    assert [wait(pid) for pid in pids] == [-9, -9, 0, 0]
    for worker in range(4):
        kept = (tmp_path / f"done{worker}").stat().st_size * 8
        assert kept >= 8 if worker < 2 else kept == 320
        numbers = range(worker * 1000, worker * 1000 + kept)
        assert equal(FeatureCache(file).look_up([digest(number) for number in numbers]), numbers)


def flip_a_byte_of_a_feature(path):
    data = bytearray(path.read_bytes())
    data[data.index(feature(5).tobytes()) + 7] ^= 1
    path.write_bytes(data)


def put_a_word_for_a_feature(path):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE features SET feature = 'word'")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database" * 100),
        lambda path: os.truncate(path, 40_000),
        flip_a_byte_of_a_feature,
        put_a_word_for_a_feature,
    ],
    ids=["garbage", "truncated", "flipped", "word"],
)
def test_damaged_file_is_made_anew_with_one_warning(file, damage, caplog):
    FeatureCache(file).keep(batch(range(50)))
    damage(file.path)
    cache = FeatureCache(file)
    assert cache.look_up([digest(number) for number in range(50)]) == {}
    cache.keep(batch(range(3)))
    assert equal(cache.look_up([digest(number) for number in range(50)]), range(3))
    [record] = caplog.records
    assert "is damaged" in record.getMessage() and str(file.path) in record.getMessage()


def test_folder_that_cannot_be_made_is_said_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(FeatureFile(tmp_path / "file" / "cache.sqlite"))
    for number in range(3):
        assert cache.look_up([digest(number)]) == {}
        cache.keep(batch([number]))
    [record] = caplog.records
    assert "run.image_cache" in record.getMessage() and "run.cache_images=false" in record.getMessage()


def test_read_only_cache_is_read_and_said_once(caplog):
    folder = Path(tempfile.mkdtemp())  # tmp_path is closed to the other user that root has to become
    file = FeatureFile(folder / "cache.sqlite")
    FeatureCache(file).keep(batch([0]))
    file.path.chmod(0o444)
    folder.chmod(0o555)

    def use():
        if os.getuid() == 0:
            os.setuid(65534)
        cache = FeatureCache(file)
        for number in (1, 2):
            assert equal(cache.look_up([digest(0), digest(number)]), [0])
            cache.keep(batch([number]))
        assert len(caplog.records) == 1 and "readonly" in caplog.text

    status = wait(fork(use))
    folder.chmod(0o755)
    shutil.rmtree(folder)
    assert status == 0


def test_full_disk_is_said_once_and_what_was_kept_stays(file, caplog):
    def use():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        cache = FeatureCache(file)
        cache.keep(batch([0]))
        for start in (100, 200):
            cache.keep(batch(range(start, start + 50)))
            assert equal(cache.look_up([digest(0), digest(start)]), [0])
        assert len(caplog.records) == 1 and "run.image_cache" in caplog.text

    assert wait(fork(use)) == 0
    assert equal(FeatureCache(file).look_up([digest(0), digest(100)]), [0])
