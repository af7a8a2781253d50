"""Documents as metrics.json holds them, made by hand: what a test says of them is all that they say."""

from magic_cli.reports.paper import load_paper


def document(source="preds.json", n=5000, not_run=None, run=None, tools=None, **values):
    """Values as printed (x100), so that a test reads like the table."""
    metrics = {
        key: {"value": value / load_paper().measures[key].scale, "label": key, "scale": 100.0} for key, value in values.items()
    }
    return {"system": "s", "source": source, "n": n, "missing": 0, "dropped": 0, "empty": 0, "notes": [], "metrics": metrics,
            "not_run": not_run or {}, "run": run, "tools": tools or {}}  # fmt: skip


def run_facts(seconds, captions, device="cpu", threads=2, **identity):
    """Of a run's manifest what table 1 reads; ``seconds`` has one number a session."""
    sessions = [{"device": device, "threads": threads, "seconds": s} for s in seconds]
    return {"identity": identity, "sessions": sessions, "counts": {"predictions": captions}, "status": "complete"}
