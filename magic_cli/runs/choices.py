"""The choices of the settings groups ``decoding`` and ``dataset``, by name, and the kinds of text with recommended values."""

from __future__ import annotations

from magic_cli.data.datasets import CocoCaptionsDataset, Dataset, KarpathyDataset, PhotoFiles, PhotoFolder
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.data.shard_dataset import ShardDataset
from magic_cli.data.story_datasets import StoryDataset, TitleFile, TitleList
from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicBeam, MagicSearch
from magic_cli.decoding.method import Method
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.retrieval.clipre import CaptionRetrieval

DECODING_METHODS: dict[str, type[Method]] = {
    "magic": MagicSearch,
    "magic_beam": MagicBeam,
    "contrastive": ContrastiveSearch,
    "greedy": GreedySearch,
    "beam": BeamSearch,
    "top_k": TopKSampling,
    "nucleus": NucleusSampling,
    "typical": TypicalSampling,
    "clipre": CaptionRetrieval,
    "zerocap": ZeroCap,
    "rerank": Rerank,
}

DATASETS: dict[str, type[Dataset]] = {
    "files": PhotoFiles,
    "photos": PhotoFolder,
    "karpathy": KarpathyDataset,
    "coco_captions": CocoCaptionsDataset,
    "shards": ShardDataset,
    "parquet": ParquetDataset,
}

STORY_DATASETS: dict[str, type[StoryDataset]] = {
    "title": TitleList,
    "titles": TitleFile,
}

TASKS = ("caption", "story", "interleave")


def method_name(method: Method) -> str:
    """The name by which the user chooses a method."""
    return next(name for name, method_class in DECODING_METHODS.items() if type(method) is method_class)
