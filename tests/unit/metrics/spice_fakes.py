"""A Java that poses as SPICE: counts words in place of propositions, keeps a list of what it parsed, and fails as told."""

import json
from pathlib import Path

from magic_cli.metrics.java.spice.jar_files import CORENLP_JARS
from magic_cli.metrics.spice import Spice
from tests.reference.spice import corpus_of
from tests.unit.metrics.java_fakes import make_java

_SPICE = """
import json
from pathlib import Path

home = Path(__file__).parent
calls = home / "calls"
trouble = json.loads((home / "trouble").read_text())
arguments, runs = sys.argv[sys.argv.index("edu.anu.spice.SpiceScorer") + 1 :], [[]]
for argument in arguments:
    runs.append([]) if argument == "--then" else runs[-1].append(argument)
cache = Path(arguments[arguments.index("-cache") + 1]) if "-cache" in arguments else None
with calls.open("a") as file:
    file.write(json.dumps({"cache": str(cache), "captions": [], "runs": len(runs)}) + "\\n")
if trouble["said"] and (cache is not None or not trouble["only_with_cache"]):
    if trouble["only_in"] in str(cache):
        os.abort() if trouble["said"] == "abort" else sys.exit(trouble["said"])
for number, run in enumerate(runs):
    if number == trouble["hangs_before_run"]:
        time.sleep(60)
    items = json.loads(Path(run[0]).read_text())
    known = set((cache / "data.mdb").read_text().split("\\n")) if cache and (cache / "data.mdb").exists() else set()
    new = [text for item in items for text in [*item["refs"], item["test"]] if text not in known]
    with calls.open("a") as file:
        file.write(json.dumps({"captions": new}) + "\\n")
    if cache:
        with (cache / "data.mdb").open("a") as file:
            file.write("".join(text + "\\n" for text in dict.fromkeys(new)))
    results = []
    for item in items:
        test, refs = set(item["test"].split()), {word for text in item["refs"] for word in text.split()}
        tp, fp, fn = len(test & refs), len(test - refs), len(refs - test)
        pr, re = (tp / len(test) if test and refs else 0.0), (tp / len(refs) if refs else 0.0)
        f = 2.0 * (pr * re) / (pr + re) if tp else 0.0
        score = {"tp": tp, "fp": fp, "fn": fn, "f": f, "pr": pr, "re": re, "numImages": 1}
        none = {"tp": 0, "fp": 0, "fn": 0, "f": None, "pr": None, "re": None, "numImages": 1}
        names = ("Relation", "Attribute", "Color", "Cardinality", "Size")
        results.append({"image_id": item["image_id"], "scores": {"All": score, "Object": score, **dict.fromkeys(names, none)}})
    text = json.dumps(results)
    if trouble["wrong_output"] == "cut":
        text = text[:-1]
    elif trouble["wrong_output"] == "short":
        text = json.dumps(results[:-1])
    elif trouble["wrong_output"] == "order":
        text = json.dumps(results[::-1])
    elif trouble["wrong_output"] == "score":
        text = text.replace('"tp": 2', '"tp": 3')
    elif trouble["wrong_output"] == "kind":
        text = text.replace('"tp": 2', '"tp": 2.5')
    if trouble["wrong_output"] != "none":
        Path(run[run.index("-out") + 1]).write_text(text)
"""

CORPUS = corpus_of(
    ["a dog runs", "two cats", "", "a dog runs"],
    [["a dog is running", "the dog"], ["two cats sit", "cats"], ["a dog is running", "the dog"], ["a dog is running", "the dog"]],
)
VALUES = [4 / 8, 4 / 5, 0.0, 4 / 8]
"""What the fake gives for ``CORPUS``."""


class FakeSpice:
    """The metric with a Java that poses as SPICE."""

    def __init__(self, folder: Path) -> None:
        self.home = Path(make_java(folder / "java", _SPICE))
        self.cache = folder / "cache"
        self.lib = folder / "lib"
        self.lib.mkdir()
        for jar in CORENLP_JARS:
            (self.lib / jar).touch()
        self.trouble()

    def metric(self, **settings) -> Spice:
        return Spice(**{"lib": str(self.lib), "java_home": str(self.home), "cache": str(self.cache), "timeout": 60.0, **settings})

    def trouble(self, *, said="", only_with_cache=True, only_in="", hangs_before_run=-1, wrong_output=""):
        """What goes wrong from now on: it ends at once, saying something, hangs, or writes something wrong."""
        told = {"said": said, "only_with_cache": only_with_cache, "only_in": only_in, "hangs_before_run": hangs_before_run}
        (self.home / "bin" / "trouble").write_text(json.dumps(told | {"wrong_output": wrong_output}))

    def calls(self) -> list[dict]:
        """Each start with its cache, each document with the captions that it parsed."""
        file = self.home / "bin" / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def num_starts(self) -> int:
        return sum("runs" in call for call in self.calls())

    def parsed(self) -> list[str]:
        return [caption for call in self.calls() for caption in call["captions"]]
