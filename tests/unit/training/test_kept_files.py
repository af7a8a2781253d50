"""What a training run keeps, when a kill comes between two of its files."""

import errno

import pytest

from magic_cli.training import finetune
from magic_cli.training import folder as training_folder
from magic_cli.training.checkpoints import Checkpoints
from magic_cli.training.folder import TrainingFolder


class Killed(BaseException):
    """In place of SIGKILL: nothing that comes later is done."""


@pytest.mark.parametrize("written", [0, 1])
def test_folder_that_was_just_begun_is_taken_up_again(written, tmp_path, monkeypatch):
    write, done = training_folder.write_atomically, []

    def write_so_many(file, content):
        if len(done) == written:
            raise Killed
        done.append(write(file, content))

    open_folder = lambda: TrainingFolder(tmp_path, settings={"a": 1}, identity={"a": 1})
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training_folder, "write_atomically", write_so_many)
        open_folder().__enter__()
    with open_folder():
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "manifest.json", "settings.yaml"]


def test_checkpoints_that_are_too_many_go_when_a_run_goes_on(tmp_path):
    before = Checkpoints(tmp_path, keep=9)
    for step in (1, 2, 3):
        before.save(step, {})
    Checkpoints(tmp_path, keep=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]


@pytest.mark.parametrize(
    ("said", "number"), [("No space left on device (os error 28)", errno.ENOSPC), ("File too large (os error 27)", errno.EFBIG)]
)
def test_full_disk_that_the_tokenizer_hides_is_the_error_of_the_system(said, number, tmp_path):
    class Tokenizer:
        def save_pretrained(self, folder):
            raise Exception(said)

    with pytest.raises(OSError, match=said.partition(" (")[0]) as caught:
        finetune._keep_tokenizer(Tokenizer(), tmp_path / "tokenizer")
    assert caught.value.errno == number
