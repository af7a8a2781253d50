"""Krippendorff's alpha as its definition reads: every ordered pair of scores of one unit, against every pair of all scores."""


def krippendorff_alpha(units: list[list[float | None]], kind: str) -> float | None:
    """``units``: each one's scores by the annotators, None where there is none; ``kind``: nominal, ordinal or interval."""
    pairable = [[score for score in unit if score is not None] for unit in units]
    pairable = [unit for unit in pairable if len(unit) >= 2]
    scores = [score for unit in pairable for score in unit]

    def distance(a: float, b: float) -> float:
        if kind == "nominal":
            return float(a != b)
        if kind == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(low <= score <= high for score in scores)
        return (between - (scores.count(low) + scores.count(high)) / 2) ** 2

    observed = expected = 0.0
    for unit in pairable:
        for i, a in enumerate(unit):
            for j, b in enumerate(unit):
                if i != j:
                    observed += distance(a, b) / (len(unit) - 1)
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            if i != j:
                expected += distance(a, b)
    if not expected:
        return None
    return 1 - (observed / len(scores)) / (expected / (len(scores) * (len(scores) - 1)))
