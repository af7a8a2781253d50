"""Small pages to test: contents as ``report_page.contents`` builds them."""

from magic_cli.report_page.traces import read_traces
from tests.files import written

MEASURES = (
    {"key": "cider", "label": "CIDEr", "scale": 100.0, "digits": 1, "higher_is_better": True},
    {"key": "rep_2", "label": "rep-2", "scale": 100.0, "digits": 2, "higher_is_better": False},
)


def system(name, **facts):
    return {
        "name": name, "source": f"runs/{name}", "overall": [[0.5, 0.4, 0.6], [0.1, None, None]], "n": 60, "missing": 0, "dropped": 0,
        "empty": 0, "notes": [], "not_run": {}, "weights": None, "settings": {"decoding.method": name, "run.seed": "0"},
        "manifest": {"magic": "1"}, "failures": [], "starts": 1, "seconds": 30.0, "machines": ["cpu, 1 thread"],
        "counts": {"predictions": 60}, "work": {"texts_encoded": 7}, "phases": {"images": 1.5},
    } | facts  # fmt: skip


def contents(tmp_path, *, num_items=60, systems=("magic", "greedy")):
    """Items 0, 1, ...: the first system's CIDEr is i / 100, the second's 0.3; item 7 has no score by the first. Item 1 is traced.

    Overall the first has the better CIDEr; rep-2 is the same of all.
    """
    items = [
        {
            "id": str(i), "texts": {n: f"{name} says {i} of {'dogs' if i % 2 else 'cats'}" for n, name in enumerate(systems)},
            "references": [f"true {i}"],
            "scores": {n: [(i / 100 if i != 7 else None) if n == 0 else 0.3, 0.0] for n in range(len(systems))},
        }
        for i in range(num_items)
    ]  # fmt: skip
    steps = [
        {"id": "1", "step": 0, "choice": 1, "token_ids": [1, 2], "p": [0.5, 0.25], "penalty": [0.5, 0.125], "f": [0.75, 0.25],
         "tokens": [" dog", " cat"]},
        {"id": "1", "step": 1, "choice": 3, "token_ids": [4, 3], "p": [0.5, 0.25], "penalty": [None, 0.125], "f": [0.0, 1.0],
         "tokens": [" runs", " sits"]},
    ]  # fmt: skip
    traces, tokens = read_traces(written(tmp_path, "trace.jsonl", steps), {"1": 1}, limit=5)
    row = {"measure": 0, "difference": -0.2, "low": -0.3, "high": -0.1, "p_value": 0.001, "p_holm": 0.002}
    comparison = {
        "n": num_items,
        "samples": 1000,
        "confidence": 0.95,
        "rows": [row | {"system": n} for n in range(1, len(systems))],
    }
    described = [system(name) for name in systems]
    for other in described[1:]:
        other["overall"] = [[0.3, 0.2, 0.4], [0.1, None, None]]
    described[0]["weights"] = {"alpha": 0.1, "beta": 2.0, "guides": [["beta", 0, "image score"]]}
    described[-1]["failures"] = [{"id": "99", "image": "broken.jpg", "reason": "no such file", "skipped": False}]
    return {
        "noun": ["image", "images"], "measures": list(MEASURES), "comparison": comparison, "systems": described, "items": items,
        "traces": [traces, *({} for _ in systems[1:])], "tokens": [tokens, *({} for _ in systems[1:])],
    }  # fmt: skip
