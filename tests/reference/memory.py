"""A memory of captions in plain Python: one image, every caption looked at."""

import math

Vector = list[float]


def recall(image: Vector, captions: list[Vector], *, neighbours: int, temperature: float) -> tuple[Vector, float]:
    """The memory of an image, at length 1, and the mean cosine of its neighbours."""
    found = nearest(image, captions, neighbours=neighbours)
    cosines = [cosine(image, captions[i]) for i in found]
    weights = [math.exp(value / temperature) for value in cosines]
    mean = [sum(w * unit(captions[i])[e] for w, i in zip(weights, found, strict=True)) / sum(weights) for e in range(len(image))]
    return unit(mean), sum(cosines) / len(found)


def nearest(image: Vector, captions: list[Vector], *, neighbours: int) -> list[int]:
    """The numbers of the captions with the largest cosine, the best first."""
    cosines = [cosine(image, caption) for caption in captions]
    return sorted(range(len(captions)), key=lambda i: (-cosines[i], i))[:neighbours]


def share(weight: float, mean_cosine: float, unsure: float | None, sure: float | None) -> float:
    """How much of the memory counts."""
    if unsure is None:
        return weight
    if mean_cosine <= unsure:
        return 0.0
    return weight if mean_cosine >= sure else weight * (mean_cosine - unsure) / (sure - unsure)


def mixed(image: Vector, memory: Vector, weight: float) -> Vector:
    """Image and memory by their directions, as long as the image."""
    both = unit([(1 - weight) * a + weight * b for a, b in zip(unit(image), memory, strict=True)])
    return [math.hypot(*image) * value for value in both]


def unit(vector: Vector) -> Vector:
    return [value / math.hypot(*vector) for value in vector]


def cosine(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))
