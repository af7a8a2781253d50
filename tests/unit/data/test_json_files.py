"""One reader for all JSON: whatever is wrong with a file is one line with its name and the place, and nothing is read without end."""

import gzip
import json
import os

import pytest

from magic_cli.data import json_files, text_files
from magic_cli.data.json_files import read_growing_lines, read_json, read_json_lines, read_json_object, read_records
from magic_cli.data.json_text import DEEPEST, JSONFault, parse_json
from magic_cli.data.predictions import read_system
from magic_cli.data.references import read_references
from magic_cli.data.stories import read_retrieved, read_titles
from magic_cli.data.training_texts import TextDataset, TextSource
from magic_cli.errors import MagicError
from magic_cli.files import recover_lines
from magic_cli.human_eval.answers import read_ratings
from magic_cli.human_eval.stories import read_systems
from magic_cli.provenance import read_manifest
from magic_cli.retrieval.captions import load_captions
from magic_cli.retrieval.clipre import CaptionRetrieval
from magic_cli.retrieval.queries import load_queries
from magic_cli.retrieval.store import read_manifest as read_index

NESTED, LONG = "[" * 1_000_000, "1" * 100_000
KEY = {"study": "s", "systems": {"a": "a.json"}, "forms": {"f": {"annotator": 1, "cards": []}}}
READERS = {
    "predictions": read_system,
    "references": read_references,
    "titles": read_titles,
    "retrieved": lambda path: read_retrieved(path, setting="retrieved"),
    "texts": lambda path: TextDataset(train=[TextSource(path=str(path))], held_out=1).training_and_validation(),
    "captions": lambda path: load_captions(CaptionRetrieval(captions="mine", captions_file=str(path))),
    "queries": lambda path: load_queries([str(path)], []),
    "stories": lambda path: read_systems([str(path)], [], human=False),
    "answers": lambda path: read_ratings([path], KEY, accept_incomplete=False),
}


def read(path):
    return read_json(path, setting="files", hint="name another")


def fault(reader, *arguments, **options):
    with pytest.raises(MagicError) as caught:
        reader(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("value", "part"), [(NESTED, f"nested more than {DEEPEST} deep"), (LONG, "more than 4300 digits")])
def test_every_reader_refuses_what_json_fails_at_when_it_is_in_a_document_or_a_line(tmp_path, name, value, part):
    document, lines = tmp_path / "one.json", tmp_path / "lines.jsonl"
    document.write_text(f'[{{"id": 1, "caption": {value}')
    lines.write_text('{"id": 1, "caption": "a"}\n{"id": 2, "caption": ' + value + "}\n")
    assert "one.json line 1: " in (message := fault(READERS[name], document)) and part in message
    if name != "answers":
        assert "lines.jsonl line 2: " in (message := fault(READERS[name], lines)) and part in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
            f"line 1: lists or objects are nested more than {DEEPEST} deep (column {DEEPEST + 1})",
        ),
        (
            '{"[[[": "{{{",\n"b": ' + '{"a": ' * DEEPEST + "1" + "}" * DEEPEST + "}",
            f"line 2: lists or objects are nested more than {DEEPEST} deep (column 600)",
        ),
        ('["' + "[" * 300 + '",\n ' + "7" * 4301 + "]", "line 2: a whole number has more than 4300 digits (column 2)"),
        ("", "line 1: is empty"),
        (" \n", "line 2: is empty"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice in one object; remove one"),
        ("[1,\n tru", "line 2: not valid JSON (Expecting value, column 2)"),
        (b'["\xff"]', "not UTF-8 (invalid start byte at byte 2)"),
        ("\0\0\0", "line 1: not valid JSON (Expecting value, column 1)"),
    ],
)
def test_fault_names_its_place(text, problem):
    with pytest.raises(JSONFault) as caught:
        parse_json(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * DEEPEST + "]" * DEEPEST, 1),
        ('["' + "[" * 300 + '"]', 1),
        ("[NaN, Infinity, 1e999, 1e-999]", 4),
        ('["\\ud800", "\\u0000"]', 2),
        ("[" + "9" * 4300 + "]", 1),
        (json.dumps([[]] * 5000), 5000),
    ],
)
def test_what_python_reads_is_read(text, value):
    assert len(parse_json(text)) == value


@pytest.mark.parametrize("text", ["[]", '"x"', "5", "null", "", "{", NESTED, f'{{"sessions": {LONG}}}', '{"a": 1, "a": 1}'])
def test_damaged_file_of_magic_is_one_line_with_the_remedy(tmp_path, text):
    file = tmp_path / "manifest.json"
    file.write_text(text)
    message = fault(read_json_object, file, remedy="delete this folder")
    assert message.startswith(f"{file}") and message.endswith("; delete this folder") and len(message) < len(str(file)) + 140
    assert f"{file}" in fault(read_manifest, tmp_path, {})
    assert "manifest.json is damaged" in fault(read_index, tmp_path, "index")
    lines = tmp_path / "lines.jsonl"
    lines.write_text(f'{{"id": 1}}\n{text}\n{{"id": 2}}\n' if text else "\x00\x00\n")
    assert "lines.jsonl line " in fault(recover_lines, lines)
    assert "lines.jsonl line " in fault(read_json_lines, lines, remedy="delete it")


def test_files_of_magic_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "a.jsonl").write_text('{"a": "x\u2028y"}\n\n{"b": 2}')
    assert read_json_object(tmp_path / "a.json", remedy="") == {"a": 1}
    assert read_json_lines(tmp_path / "a.jsonl", remedy="") == [{"a": "x\u2028y"}, {"b": 2}]
    assert read_growing_lines(tmp_path / "a.jsonl", setting="", hint="") == ([{"a": "x\u2028y"}, {"b": 2}], 0)
    (tmp_path / "a.jsonl").write_bytes('{"a": 1}\n{"b": "é"}'.encode()[:-3])  # cut in the middle of a letter
    assert read_growing_lines(tmp_path / "a.jsonl", setting="", hint="") == ([{"a": 1}], 1)


def test_last_line_that_is_cut_is_named(tmp_path):
    path = tmp_path / "preds.jsonl"
    path.write_text('{"id": 1, "caption": "a"}\n{"id": 2, "capt')
    assert "preds.jsonl line 2: not valid JSON" in fault(read_system, path)


def test_record_and_document_and_file_have_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "LONGEST_LINE", 1 << 20)
    lines = '{"id": 1, "caption": "' + "a" * (1 << 20) + '"}\n'
    (tmp_path / "one.jsonl").write_text(lines)
    (tmp_path / "first.jsonl").write_text(lines + '{"id": 2, "caption": "b"}\n')
    (tmp_path / "second.jsonl").write_text('{"id": 2, "caption": "b"}\n' + lines)
    for name, number in {"one": 1, "first": 1, "second": 2}.items():
        assert f"{name}.jsonl line {number}: is one record of more than 1 MB" in fault(read_system, tmp_path / f"{name}.jsonl")
    (tmp_path / "document.json").write_text(f"[{lines}]")
    assert len(read_system(tmp_path / "document.json").items) == 1
    monkeypatch.setattr(json_files, "LARGEST_DOCUMENT", 1 << 20)
    assert "document.json: is one JSON document of more than 1 MB; write JSON lines" in fault(
        read_system, tmp_path / "document.json"
    )
    monkeypatch.setattr(json_files, "MOST_VALUES", 1_000_000)
    for name, content in {"crowded.json": f"[{'{},' * 500_000}0]", "crowded.jsonl": "{}\n" * 1_000_001}.items():
        (tmp_path / name).write_text(content)
        assert f"{name}: holds more than 1 million values; split it" in fault(read_system, tmp_path / name)
        assert f"{name}: holds more than 1 million values; split it" in fault(read, tmp_path / name)
    monkeypatch.setattr(text_files, "LARGEST_FILE", 64 << 20)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * (8 << 20)) * 9)
    assert len((tmp_path / "bomb.json.gz").read_bytes()) < 2 << 20
    assert "bomb.json.gz: holds more than 64 MB of text; split it" in fault(read, tmp_path / "bomb.json.gz")


@pytest.mark.parametrize(
    "record",
    [
        "null",
        "[1]",
        '{"query": null, "images": []}',
        '{"query": ["a"], "images": []}',
        '{"query": "a", "images": [{"image": 5}]}',
    ],
)
def test_retrieved_images_of_no_text_are_refused(tmp_path, record):
    (tmp_path / "retrieved.jsonl").write_text(f"{record}\n")
    assert "retrieved.jsonl record 1: " in fault(read_retrieved, tmp_path / "retrieved.jsonl", setting="retrieved")


# --- encodings ---

TABLE = "image,caption\na.jpg,Ein süßer Hund läuft\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encoding_that_a_file_names_is_read(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE.encode(encoding))
    assert read_records(path, setting="x", hint="") == [{"image": "a.jpg", "caption": "Ein süßer Hund läuft"}]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (TABLE.encode("latin-1"), "t.csv line 2: byte 0xfc is not UTF-8; it looks like Latin-1 (Windows-1252): save it as UTF-8"),
        ("a \u2019 b \u2019 c".encode("cp1252"), "line 1: byte 0x92 is not UTF-8; it looks like Latin-1 (Windows-1252)"),
        ("图片,标题\n甲,一只狗\n".encode("gb18030"), "line 1: byte 0xb1 is not UTF-8; save it as UTF-8"),
        (TABLE.encode("utf-16-le"), "t.csv: looks like UTF-16LE without its mark; save it as UTF-8"),
        (TABLE.encode("utf-16-be"), "t.csv: looks like UTF-16BE without its mark"),
        (
            b"\xff\xfe" + TABLE.encode("utf-16-le")[:-1],
            "t.csv: its first bytes say UTF-16, but it is not (truncated data at byte",
        ),
        (TABLE.encode()[:26], "t.csv line 2: the file ends in the middle of a letter, so it is cut off"),
        (b"image,caption\na.jpg,a \0dog\n", "t.csv line 2: holds a NUL byte"),
        (
            b"PK\x03\x04\x14\0\x06\0\x08\0",
            "t.csv: is not text but a zip archive or an Excel workbook: unpack it, or export it as CSV",
        ),
        (b"BZh91AY&SY\xff\xff", "t.csv: is not text but a bzip2 archive"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "t.csv: is not text but an image"),
        (b"\x1f\x8bnot gzip", "t.csv: cannot be read, its gzip data is damaged"),
    ],
)
def test_encoding_or_kind_is_named_when_a_file_is_no_utf_8(tmp_path, data, part):
    (tmp_path / "t.csv").write_bytes(data)
    assert part in fault(read_records, tmp_path / "t.csv", setting="files", hint="name another")


# --- what is no file ---


def test_what_is_no_regular_file_is_one_line_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / "file").write_text("{}")
    assert fault(read, tmp_path) == f"files={tmp_path}: is a folder, not a file; name another"
    assert "is a pipe or a device, not a file" in fault(read, tmp_path / "pipe")
    assert "is a pipe or a device, not a file" in fault(read, text_files.Path("/dev/zero"))
    assert "cannot be read (Too many levels of symbolic links)" in fault(read, tmp_path / "loop")
    assert "cannot be read (File name too long)" in fault(read, tmp_path / ("x" * 300))
    for missing in ("nowhere", "file/below", "a\0b"):
        assert "no such file" in fault(read, tmp_path / missing)
    assert "no such file" in fault(read, text_files.Path("~nobody-of-this-name/a"))


def test_pipe_of_the_shell_is_read():
    reading, writing = os.pipe()
    os.write(writing, b'{"a": 1}')
    os.close(writing)
    assert read(text_files.Path(f"/dev/fd/{reading}")) == {"a": 1}
    os.close(reading)


def test_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.json").chmod(0)
    if os.access(tmp_path / "a.json", os.R_OK):  # root may read everything
        monkeypatch.setattr(text_files.Path, "open", _forbidden)
    assert "cannot be read (permission denied: chmod +r it); name another" in fault(read, tmp_path / "a.json")


def _forbidden(*_):
    raise PermissionError(13, "Permission denied")
