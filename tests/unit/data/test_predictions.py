"""Files of captions and references, in the forms in which people have them, and what is wrong with them."""

import csv
import json

import pytest

from magic_cli.data.json_files import read_records
from magic_cli.data.predictions import read_system
from magic_cli.data.references import read_references
from magic_cli.errors import MagicError
from magic_cli.evaluation.corpora import build_corpus
from tests.files import written
from tests.systems import by_id

CAPTIONS = {"391895": "A man rides.", "60623": "Ein Kind ißt Kuchen — 子供"}
FORMS = {
    "results.json": [{"image_id": int(i), "caption": c} for i, c in CAPTIONS.items()],
    "results_wrapped.json": {"info": "x", "annotations": [{"image_id": int(i), "caption": c} for i, c in CAPTIONS.items()]},
    "plain.jsonl": [{"id": i, "caption": c} for i, c in CAPTIONS.items()],
    "plain.jsonl.gz": [{"id": i, "caption": c} for i, c in CAPTIONS.items()],
    "released.json.gz": [{"split": "test", "image_name": i, "captions": ["ref"], "prediction": c} for i, c in CAPTIONS.items()],
    "object.json": CAPTIONS,
    "lists_of_one.json": [{"image_id": i, "caption": [c]} for i, c in CAPTIONS.items()],
    "one_line.jsonl": [{"id": "391895", "caption": "A man rides."}],
    "stdout.tsv": "".join(f"{i}\t{c}\n" for i, c in CAPTIONS.items()),
    "header.tsv": "image_id\tcaption\n" + "".join(f"{i}\t{c}\n" for i, c in CAPTIONS.items()),
    "json_cells.tsv": "".join(f"{i}\t{json.dumps([{'caption': c, 'conf': 0.5}])}\n" for i, c in CAPTIONS.items()),
    "table.csv": "image,caption\n" + "".join(f"{i},{c}\n" for i, c in CAPTIONS.items()),
    "lists_of_one_by_name.json": [{"img_id": i, "prediction": [c]} for i, c in CAPTIONS.items()],
    "load_res.json": [{"image_id": int(i), "caption": c, "id": n} for n, (i, c) in enumerate(CAPTIONS.items(), start=1)],
    "res_of_pycocoevalcap.json": {i: [c] for i, c in CAPTIONS.items()},
    "res_of_records.json": {i: [{"image_id": int(i), "caption": c, "id": 7}] for i, c in CAPTIONS.items()},
    "capital_header.csv": "Image ID,Caption\n" + "".join(f"{i},{c}\n" for i, c in CAPTIONS.items()),
    "from_pandas.csv": ",cocoid,score,pred\n" + "".join(f'{n},{i},0.5,"{c}"\n' for n, (i, c) in enumerate(CAPTIONS.items())),
    "columns.tsv": "id\timg_id\ttext\tscore\n" + "".join(f"{n}\t{i}\t{c}\t0.5\n" for n, (i, c) in enumerate(CAPTIONS.items())),
    "paths.csv": "image_path,caption\n" + "".join(f"{i},{c}\n" for i, c in CAPTIONS.items()),
    "carriage_returns.csv": "image,caption\r" + "".join(f"{i},{c}\r" for i, c in CAPTIONS.items()),
    "returns_and_line_feed.csv": "image,caption\r" + "".join(f"{i},{c}\r" for i, c in CAPTIONS.items()) + "\n",
    "carriage_returns.jsonl": "".join(json.dumps({"id": i, "caption": c}) + "\r" for i, c in CAPTIONS.items()),
    "blank_lines.jsonl": "\n" + "\n\n".join(json.dumps({"id": i, "caption": c}) for i, c in CAPTIONS.items()),
    "records_by_id.json": {i: {"caption": c, "logprob": -1.5} for i, c in CAPTIONS.items()},
    "records_by_row.json": {str(n): {"image_id": int(i), "caption": c} for n, (i, c) in enumerate(CAPTIONS.items())},
    "lists_by_column.json": {"image_id": [int(i) for i in CAPTIONS], "caption": [*CAPTIONS.values()]},
    "rows_by_column.json": {"id": dict(enumerate(CAPTIONS)), "pred": dict(enumerate(CAPTIONS.values()))},
    "one_record.json": {"id": "391895", "caption": "A man rides."},
    "with_bom.json": "\ufeff" + json.dumps(CAPTIONS),
}


@pytest.mark.parametrize("name", FORMS)
def test_captions_are_read_when_the_form_is_known(tmp_path, name):
    system = read_system(written(tmp_path, name, FORMS[name]))
    assert by_id(system) == (CAPTIONS if not name.startswith("one_") else {"391895": "A man rides."})
    assert system.name == name.split(".")[0]


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ([{"id": 1, "caption": "a"}, {"id": "1", "caption": "b"}], ("record 2", "'1' appears twice")),
        ([{"id": 1, "caption": "a"}, {"id": 2}], ("record 2", "id '2'", "no caption")),
        ([{"id": 1, "caption": "a"}, {"id": 2, "caption": None}], ("record 2", "id '2'", "the caption is null")),
        ([{"id": 1, "caption": 3}], ("record 1", "got 3")),
        ([{"id": 1, "caption": ["a", "b"]}], ("record 1", "got 2 of them")),
        ({"1": ["a"], "2": ["b", "c"]}, ("record 2", "id '2'", "caption must be one text, got 2 of them")),
        ({"1": []}, ("got 0 of them",)),
        ({"evaluation_result": [{}]}, ("record 1", "give a released story file")),
        ([{"id": 1, "caption": "a", "prediction": "b"}], ("caption and prediction", "caption_key=")),
        ([{"caption": "a"}], ("record 1", "no id", "id_key")),
        ({"caption": "a", "score": "high"}, ("record 1", "no id", "id_key")),
        ({"id": ["1", "2"], "caption": ["a"]}, ("record 1", "id must be")),
        ("img,output\n1,a\n", ("'img,output'", "id_key=... and caption_key=...")),
        ([{"id": 1.5, "caption": "a"}], ("record 1", "id must be")),
        ([{"id": 1e20, "caption": "a"}], ("record 1", "id must be", "got '1e+20'")),
        ([{"id": True, "caption": "a"}], ("record 1", "id must be")),
        ([["a"]], ("record 1", "must be a JSON object")),
        ([], ("holds no captions",)),
        ({"x": 1}, ("unknown form",)),
        (3, ("holds a number, not a list of records",)),
        (None, ("holds null, not a list of records",)),
        ('{"a": "x", "a": "y"}', ("'a' appears twice",)),
        ("", ("empty",)),
        ('[{"id": 1,', ("line 1", "not valid JSON")),
        ("hello\n", ("neither JSON nor a table", "'hello'")),
        ("a.jpg\tA dog\nb.jpg A cat\n", ("line 2", "no tab")),
        ("image,caption\na.jpg\n", ("line 2", "1 of the 2 columns")),
        ('a.jpg\t[{"conf": 1}]\n', ("line 1", "JSON list of captions")),
        ("image,caption,score\n\n1,cat,0.5\n2,a dog, runs on grass,0.5\n", ("line 4", "4 cells for the 3 columns", "in quotes")),
        ('image,caption\n1,"a\ncat"\n\n2\n', ("line 5", "1 of the 2 columns")),
        ('image,caption\n1,a cat\n2,"big" dogs\n', ("line 3", "quotes do not match")),
        ('image,caption\n1,"a cat\n2,a dog\n', ("line 2", "quotes do not match")),
        ("a.jpg\ta cat\u2028on grass\n\nb.jpg a dog\n", ("line 3", "no tab")),
        ("a.jpg\ta cat\t0.5\n", ("line 1", "3 cells for the 2 columns", "header line")),
        ("id,caption,Caption\n1,a,b\n", ("line 1", "two columns are called 'caption'")),
    ],
)
def test_one_line_names_file_and_record_when_predictions_are_wrong(tmp_path, document, parts):
    path = written(tmp_path, "preds.json", document)
    with pytest.raises(MagicError) as caught:
        read_system(path)
    message = str(caught.value)
    assert "\n" not in message and "preds.json" in message
    for part in parts:
        assert part in message


def test_line_is_named_when_a_line_of_many_is_damaged(tmp_path):
    path = written(tmp_path, "preds.jsonl", '{"id": 1, "caption": "a"}\n{"id": 2, "cap\n{"id": 3, "caption": "c"}\n')
    with pytest.raises(MagicError, match="line 2: not valid JSON"):
        read_system(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:30] + b"xxxx" + data[34:]])
def test_gzip_that_is_damaged_is_refused(tmp_path, damage):
    path = written(tmp_path, "preds.json.gz", [{"id": i, "caption": f"caption {i}"} for i in range(50)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MagicError, match="cannot be read"):
        read_system(path)


def test_keys_can_be_named(tmp_path):
    path = written(tmp_path, "preds.json", [{"nr": 7, "caption": "gold", "out": "mine"}])
    assert by_id(read_system(path, id_key="nr", caption_key="out")) == {"7": "mine"}
    with pytest.raises(MagicError, match="looked for answer"):
        read_system(path, id_key="nr", caption_key="answer")

    table = written(tmp_path, "preds.csv", "image,caption,My Model\n7,gold,mine\n")
    assert by_id(read_system(table, id_key="Image", caption_key="My model")) == {"7": "mine"}


@pytest.mark.parametrize("sign", ["\t", ",", ";", "|"])
def test_columns_that_have_names_of_their_own_can_be_named(tmp_path, sign):
    rows = [["img", "Model Output"], ["7.jpg", f"a dog{sign} brown" if sign in ",|" else "a dog brown"], ["8.jpg", "['a cat']"]]
    path = written(tmp_path, "preds.txt", "".join(f"{sign.join(row)}\n" for row in rows))
    system = read_system(path, id_key="img", caption_key="model output")
    assert by_id(system) == {"7.jpg": rows[1][1], "8.jpg": "a cat"}
    short = written(tmp_path, "short.txt", f"img{sign}output\n7.jpg{sign}a dog\n")
    with pytest.raises(MagicError, match=r"no caption .*the record has img, output.*set caption_key="):
        read_system(short, id_key="img")


def test_commas_of_a_caption_that_comes_last_are_kept(tmp_path):
    table = 'image, caption\n1, a dog, brown, runs\n2, "a ""big"" dog, red"\n3, say "no", dog\n'
    expected = {"1": "a dog, brown, runs", "2": 'a "big" dog, red', "3": 'say "no", dog'}
    assert by_id(read_system(written(tmp_path, "preds.csv", table))) == expected
    assert by_id(read_system(written(tmp_path, "tight.csv", "image,caption\n1,one,two, three\n"))) == {"1": "one,two, three"}
    assert by_id(read_system(written(tmp_path, "bars.csv", 'image| caption\n1| " a dog | runs\n'))) == {"1": '" a dog | runs'}


def test_carriage_returns_end_rows_though_a_cell_holds_a_line_feed(tmp_path):
    rows = 'image,caption\r1,"two\nlines"\r2,a dog\r'
    assert by_id(read_system(written(tmp_path, "mac.csv", rows))) == {"1": "two\nlines", "2": "a dog"}
    assert by_id(read_system(written(tmp_path, "stray.tsv", "image\tcaption\n1\ta\rdog\r\r\n"))) == {"1": "a\rdog"}


def test_line_and_paragraph_separators_within_a_caption_part_nothing(tmp_path):
    expected = {"1": "a\u2028b\x85c\x0bd", "2": "e"}
    for name, pattern in {"p.tsv": "{}\t{}\r\n", "p.csv": "{},{}\r\n", "p.jsonl": '{{"id": "{}", "caption": "{}"}}\r\n'}.items():
        header = "image,caption\r\n" if name == "p.csv" else ""
        lines = "".join(pattern.format(i, c.replace("\x0b", "\\u000b") if "json" in name else c) for i, c in expected.items())
        assert by_id(read_system(written(tmp_path, name, header + lines))) == expected
    assert by_id(read_system(written(tmp_path, "lines.csv", 'image,caption\n1,"two\nlines"\n'))) == {"1": "two\nlines"}


def test_splits_are_kept_where_the_file_says_them(tmp_path):
    assert by_id(read_system(written(tmp_path, "released.json", FORMS["released.json.gz"])), "split") == dict.fromkeys(
        CAPTIONS, "test"
    )
    assert by_id(read_system(written(tmp_path, "preds.csv", "image,Split,caption\n1,val,a\n")), "split") == {"1": "val"}
    assert by_id(read_system(written(tmp_path, "plain.jsonl", FORMS["plain.jsonl"])), "split") == {}


def test_released_file_of_images_without_references_is_read(tmp_path):
    rows = [{"split": "test", "image_name": "a.jpg", "captions": [], "prediction": "a dog"}]
    [item] = read_system(written(tmp_path, "released.json", rows)).items
    assert (item.text, item.references) == ("a dog", ())


def test_file_of_one_line_is_parsed_once(tmp_path, monkeypatch):
    path = written(tmp_path, "coco.json", {"annotations": [{"image_id": 1, "caption": "a"}]})
    parsed, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text, **options: parsed.append(text) or loads(text, **options))
    assert read_records(path, setting="references", hint="") == {"annotations": [{"image_id": 1, "caption": "a"}]}
    assert len(parsed) == 1


def run_folder(tmp_path, predictions, *, failures=None, manifest=None):
    folder = tmp_path / "run"
    folder.mkdir()
    files = {"predictions.jsonl": predictions, "failures.jsonl": failures, "manifest.json": manifest}
    for name, text in files.items():
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


FIRST = '{"id": "1", "image": "a.jpg", "caption": "ein Käse", "split": "val", "references": ["r"]}\n'


def test_run_that_is_still_written_is_read_up_to_its_last_whole_line(tmp_path):
    second = FIRST.replace('"1"', '"2"').encode()
    cut = FIRST.encode() + second[: second.index("ä".encode()) + 1]
    reason = '{"id": "3", "reason": "b\u2028c"}\n{"id": "4", "reason": "grey", "skipped": true}\n'
    folder = run_folder(tmp_path, cut, failures=reason, manifest='{"counts": {"planned": 5, "skipped": 1}}')
    system = read_system(folder)
    assert (system.name, system.source, system.failed, system.planned) == ("run", folder, 2, 5)
    assert (by_id(system), by_id(system, "split"), by_id(system, "image")) == ({"1": "ein Käse"}, {"1": "val"}, {"1": "a.jpg"})
    assert (folder / "predictions.jsonl").read_bytes() == cut  # reading never truncates


def test_whole_last_line_counts_though_its_line_break_is_missing(tmp_path):
    system = read_system(run_folder(tmp_path, (FIRST + FIRST.replace('"1"', '"2"')).rstrip("\n")))
    assert (list(by_id(system)), system.failed, system.planned, system.manifest) == (["1", "2"], 0, None, None)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"manifest": "[1]"}, ("manifest.json", "must hold a JSON object, but holds")),
        ({"manifest": "null"}, ("manifest.json", "must hold a JSON object, but holds")),
        ({"manifest": '{"counts": {"planned": "5"}}'}, ("manifest.json", "counts must be whole numbers", "'5'")),
        ({"manifest": '{"counts": '}, ("manifest.json line 1", "not valid JSON")),
        ({"predictions": FIRST + '{"id": \n' + FIRST}, ("predictions.jsonl line 2", "not valid JSON")),
        ({"predictions": '{"id": "1"'}, ("predictions.jsonl ends within its first line", "no text yet; start its command again")),
        ({"predictions": FIRST.replace("\n", "\r") * 2}, ("predictions.jsonl line 1: carriage returns alone end its lines",)),
        ({"failures": "3\n"}, ("failures.jsonl line 1", "must be a JSON object")),
    ],
)
def test_one_line_names_the_file_when_a_run_folder_is_damaged(tmp_path, files, parts):
    with pytest.raises(MagicError) as caught:
        read_system(run_folder(tmp_path, **{"predictions": FIRST, **files}))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_baseline_of_ai3611_is_scored_as_its_readme_describes(tmp_path):
    """Source: README of the image-captioning baseline of the course AI3611 (prediction.json: a list of ``img_id`` and
    ``prediction``, itself a list of one caption), and Flickr8k's caption file, its references: name#number, tab, caption.
    """
    names = ["1386964743_9e80d96b05.jpg", "3523559027_a65619a34b.jpg"]
    predictions = [{"img_id": name, "prediction": ["young boy is standing in a field of grass"]} for name in names]
    text = "".join(f"{name}#{n}\tA boy , number {n} .\n" for name in reversed(names) for n in range(5))
    system = read_system(written(tmp_path, "prediction.json", predictions))
    references = read_references(written(tmp_path, "caption.txt", text))
    corpus, coverage = build_corpus(system, references, images=None, drop_unmatched=False)
    assert corpus.ids == tuple(reversed(names))
    assert corpus.captions == ("young boy is standing in a field of grass",) * 2
    assert corpus.references == (tuple(f"A boy , number {n} ." for n in range(5)),) * 2
    assert (coverage.n, coverage.missing, coverage.dropped) == (2, 0, 0)


OFA_ROWS = {"391895": "a man riding a motorcycle, on a road", "60623": "a girl eating cake"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.txt", "".join(f"{i}\t{json.dumps([{'caption': c, 'conf': 0.25}])}\n" for i, c in OFA_ROWS.items())),
        ("test_predict.json", json.dumps([{"image_id": i, "caption": c} for i, c in OFA_ROWS.items()])),
    ],
)
def test_output_of_oscar_and_ofa_is_scored_as_coco_eval_describes(tmp_path, name, text):
    """Source: the documentation of ``evaluate_on_coco_caption`` in OFA's run_scripts/caption/coco_eval.py, which comes from
    Oscar: the result file has rows of image key and JSON list of captions with ``caption`` and ``conf``, or is what pycocotools'
    ``loadRes`` reads (OFA's own test_predict.json, where the ids are texts); the label file is a COCO annotation file.
    """
    labels = {
        "images": [{"id": int(i), "file_name": f"COCO_val2014_{int(i):012d}.jpg"} for i in OFA_ROWS],
        "annotations": [{"id": n, "image_id": int(i), "caption": f"a label {n}"} for n, i in enumerate([*OFA_ROWS, *OFA_ROWS])],
    }
    system = read_system(written(tmp_path, name, text))
    references = read_references(written(tmp_path, "test_caption_coco_format.json", labels))
    corpus, coverage = build_corpus(system, references, images=None, drop_unmatched=False)
    assert dict(zip(corpus.ids, corpus.captions, strict=True)) == OFA_ROWS
    assert corpus.references == (("a label 0", "a label 2"), ("a label 1", "a label 3"))
    assert [image.name for image in corpus.images] == [f"COCO_val2014_{int(i):012d}.jpg" for i in OFA_ROWS]
    assert (coverage.n, coverage.missing, coverage.dropped) == (2, 0, 0)


QUOTED = ["['a dog', \"it's a dog\"]", 'a "big" dog', '"Stop" and "go"', "plain, with commas"]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("header", [["image", "captions"], ["image", "score", "captions"], ["Image ID", "References"]])
def test_cells_that_a_table_program_has_quoted_are_unquoted_between_tabs_as_between_commas(tmp_path, quoting, header):
    for delimiter, name in (("\t", "refs.tsv"), (",", "refs.csv")):
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter=delimiter, quoting=quoting)
            writer.writerow(header)
            writer.writerows([f"{i}.jpg", *["0.5"] * (len(header) - 2), text] for i, text in enumerate(QUOTED))
        texts = [("a dog", "it's a dog"), *((text,) for text in QUOTED[1:])]
        assert read_references(tmp_path / name).captions == {f"{i}.jpg": text for i, text in enumerate(texts)}


def test_quotes_of_a_caption_in_a_table_without_header_are_its_own_unless_they_are_doubled(tmp_path):
    table = 'a.jpg\t"Stop"\nb.jpg\t"a ""big"" dog"\nc.jpg\t"Stop" and "go"\n'
    assert by_id(read_system(written(tmp_path, "p.tsv", table))) == {
        "a.jpg": '"Stop"',
        "b.jpg": 'a "big" dog',
        "c.jpg": '"Stop" and "go"',
    }


def test_header_of_a_table_with_tabs_is_known_by_its_last_column(tmp_path):
    path = written(tmp_path, "p.tsv", "name\tcaption\na.jpg\ta dog\n")
    with pytest.raises(MagicError, match="record 1: no id .*set id_key"):
        read_system(path)
    assert by_id(read_system(path, id_key="name")) == {"a.jpg": "a dog"}
    assert by_id(read_system(written(tmp_path, "q.tsv", "a.jpg\ttext\n7\tcaption\n"))) == {"a.jpg": "text", "7": "caption"}
