"""Fixtures of all tests: tiny models and photos, one thread, no network.

Nothing of weight is imported at the top: the process that only hands tests out to others need not load torch first.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any Hugging Face library is imported; subprocesses inherit it
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

import contextlib
import gc
import resource
import signal
import socket
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def file_size_limit():
    """``with file_size_limit(bytes):`` no file can grow past so many bytes; a write that reaches past it takes a part only, as on a full disk."""

    @contextlib.contextmanager
    def limit(num_bytes):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The user's cache is in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Sockets answer as on a machine without network; those between processes of this machine still work.

    The end of each test also checks that it has not called ``monkeypatch.undo()``: that takes back what fixtures have set, such as
    this block and the folder that the test works in, and the rest of the test would write into the checkout.
    """
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def is_near(sock, address):
        return sock.family == socket.AF_UNIX or address[0] in _THIS_MACHINE

    def refuse(self, address):
        if is_near(self, address):
            return connect(self, address)
        raise OSError(101, "Network is unreachable (blocked by tests/conftest.py)")

    def refuse_with_number(self, address):
        return connect_ex(self, address) if is_near(self, address) else 101

    def no_name(host, *args, **kwargs):
        if host in _THIS_MACHINE:
            return look_up(host, *args, **kwargs)
        raise socket.gaierror(-3, f"no name resolution in tests (blocked by tests/conftest.py): {host}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse_with_number)
    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    yield
    assert socket.getaddrinfo is no_name, (
        "monkeypatch.undo() also undoes what fixtures set; use `with monkeypatch.context() as patch:`"
    )


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> str:
    """Each device on which a test runs: the CPU, its twin that runs everywhere, and CUDA where there is one."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    return request.param


@pytest.fixture(scope="session")
def tiny_language_model_folder(tmp_path_factory) -> Path:
    """A tiny GPT-2 with a real tokenizer; ``language_model.path=...`` loads it."""
    from tests import tiny_models

    return tiny_models.build_language_model_folder(tmp_path_factory.mktemp("tiny") / "language_model")


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory) -> Path:
    """A tiny CLIP with OpenAI's tokenizer; ``image_text_model.path=...`` loads it."""
    from tests import tiny_models

    return tiny_models.build_clip_folder(tmp_path_factory.mktemp("tiny") / "clip")


@pytest.fixture(scope="session")
def common_clip_folder(tmp_path_factory) -> Path:
    """A tiny CLIP with the common ones of OpenAI's tokens: for tests of commands, which load it hundreds of times."""
    from tests import tiny_models

    return tiny_models.build_clip_folder(tmp_path_factory.mktemp("tiny") / "common_clip", num_merges=4000)


@pytest.fixture(scope="session")
def interleaved_folder(tmp_path_factory) -> Path:
    """A tiny random model that reads and writes texts and images, in the folders of its parts."""
    from tests.interleaved_models import build_interleaved_folders

    return build_interleaved_folders(tmp_path_factory.mktemp("interleaved") / "model")


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory) -> Path:
    """A folder of six small jpg files."""
    from tests import tiny_models

    return tiny_models.build_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def network_and_tokenizer(tiny_language_model_folder):
    """The tiny GPT-2 and its tokenizer, read back from their folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_language_model_folder).eval()
    return model, AutoTokenizer.from_pretrained(tiny_language_model_folder)


@pytest.fixture(scope="session")
def make_language_model(network_and_tokenizer):
    """Make the tiny language model, prepared: ``make_language_model(decoding_len=..., num_candidates=..., look_ahead=...)``."""
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel

    def make(*, decoding_len: int = 24, num_candidates: int = 6, look_ahead: str = "tree"):
        model = HuggingFaceLanguageModel(*network_and_tokenizer)
        model.prepare(decoding_len=decoding_len, num_candidates=num_candidates, look_ahead=look_ahead)
        return model

    return make


@pytest.fixture(scope="session")
def language_model(make_language_model):
    """The tiny language model, tree step, prepared for 24 tokens."""
    return make_language_model()


@pytest.fixture(scope="session")
def loaded_clip(tiny_clip_folder):
    """The tiny CLIP model behind its adapter."""
    from tests import tiny_models

    return tiny_models.load_clip(tiny_clip_folder)


@pytest.fixture
def clip(loaded_clip, monkeypatch):
    """The tiny CLIP model; what a test sets on it lasts for that test."""
    monkeypatch.setattr(loaded_clip, "text_tower", loaded_clip.text_tower)
    monkeypatch.setattr(loaded_clip, "logit_scale", loaded_clip.logit_scale)
    return loaded_clip


@pytest.fixture(scope="session")
def images(tiny_photos) -> list:
    """The six photos, opened."""
    from PIL import Image

    return [Image.open(file).convert("RGB") for file in sorted(tiny_photos.iterdir())]


@pytest.fixture(scope="session")
def image_features(loaded_clip, images):
    """(6, E) features of the photos."""
    return loaded_clip.encode_images(images)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """As many processes as this one may use cores, at most eight, each with 4 GB of memory: one test needs as much."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores, psutil.virtual_memory().available // 4_000_000_000))


def pytest_collection(session):
    """One thread in each process that runs tests, before it loads them."""
    if session.config.pluginmanager.hasplugin("dsession"):  # this one hands tests out to others
        return
    import torch

    torch.set_num_threads(1)


def pytest_collection_finish(session):
    """What is loaded by now stays to the end: the garbage collector need not walk through torch again and again."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that; the tests of Ctrl-C need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
