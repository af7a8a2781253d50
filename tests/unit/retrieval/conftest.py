"""Folders of features from random numbers."""

import numpy as np
import pytest

from magic_cli.retrieval.features import Features
from magic_cli.retrieval.store import FeatureWriter


def write(folder, features, *, dtype="float16", shard_rows=100, batch=64, identity=None):
    """A complete folder of features (N, E)."""
    with FeatureWriter(folder, "index", identity or {"kind": "test"}, dtype=dtype, shard_rows=shard_rows) as store:
        for start in range(store.inputs_done, len(features), batch):
            part = features[start : start + batch]
            store.add(part, [{"id": str(start + i)} for i in range(len(part))], [], inputs=len(part))
        if not store.is_complete:
            store.finish()
    return Features(folder, "index")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
