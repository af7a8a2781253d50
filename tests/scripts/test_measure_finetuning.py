"""scripts/measure_finetuning.py: where two runs are compared."""

from types import SimpleNamespace

import measure_finetuning


def test_runs_are_compared_where_each_first_reached_what_both_reached():
    curves = {"without": [(90, 0.5), (60, 0.4), (50, 0.3), (55, 0.2)], "with": [(80, 0.4), (49, 0.25), (40, 0.2), (51, 0.1)]}

    def run(name, *words):
        lines = [
            {"validation": {"perplexity_per_token": p, "token_similarity": s}, "step": i} for i, (p, s) in enumerate(curves[name])
        ]
        return {"lines": [{"step": 0}, *lines]}

    found = measure_finetuning.contrast(
        SimpleNamespace(args=SimpleNamespace(steps=40, margin=0.5, normalisation="batch"), run=run)
    )
    assert found["without"] == {"step": 2, "perplexity": 50, "similarity": 0.3}
    assert found["with"] == {"step": 1, "perplexity": 49, "similarity": 0.25}
    assert found["perplexities_equal_within_5_percent"]
