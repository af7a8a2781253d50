"""Counts the arithmetic of a computation, and times its matrix products alone.

    result, products = record([network, clip.model], lambda: generate(...))
    products.flops                      # 2 per multiply-add
    bare = products.replay()            # seconds for the same products with the same shapes, and nothing else
    peak = matrix_product_peak()        # GFLOP/s of the fastest large product

Counting slows Python down, so nothing is timed during counting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from magic_cli.models.fast.lean_modules import linear, packed

Result = TypeVar("Result")

_ATTENTION = (torch.ops.aten.scaled_dot_product_attention, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _packed_flops(rows: Any, *_: Any, out_val: Any, **__: Any) -> int:
    return 2 * rows.shape[0] * rows.shape[1] * out_val.shape[1]


# attention on the CPU uses one of these; torch itself counts the other kernels
_FORMULAS = {
    **flop_registry,
    **dict.fromkeys(_ATTENTION, _attention_flops),
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # torch may be built without oneDNN
    _FORMULAS[torch.ops.mkldnn._linear_pointwise] = _packed_flops


@dataclass(frozen=True)
class _Operand:
    """An activation in a recorded product: its shape, not its values."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def room(self) -> int:
        """The number of elements of memory that it spans."""
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


@dataclass
class _Product:
    operator: Any
    leaves: list[Any]
    """Its arguments as a flat list: weights themselves, activations as ``_Operand``."""
    structure: Any
    flops: int


@dataclass
class Products:
    """The matrix products of a computation, in order (attention counts as two)."""

    products: list[_Product] = field(default_factory=list)
    can_replay: bool = True

    @property
    def flops(self) -> int:
        """Floating-point operations, 2 per multiply-add."""
        return sum(product.flops for product in self.products)

    def bare(self) -> Callable[[], None]:
        """A function that runs the same products with the same shapes in the same order, and nothing else.

        Weights are the model's own, so they are read from memory as in the real computation. Activations are random numbers in
        a few buffers that all products share. All arguments are prepared here, so that the function spends its time in the
        products.

        Raises:
            ValueError: The products were only counted.
        """
        if not self.can_replay:
            raise ValueError("only counted: record with keep=True to replay")
        calls = self._calls()

        @torch.inference_mode()
        def run() -> None:
            for operator, args, kwargs in calls:
                operator(*args, **kwargs)

        return run

    def replay(self, *, repeats: int = 1) -> float:
        """Seconds of the products alone; the fastest of ``repeats`` runs."""
        run, seconds = self.bare(), []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            _synchronise()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    def _calls(self) -> list[tuple[Any, tuple, dict]]:
        buffers: dict[tuple, Tensor] = {}
        room: dict[tuple, int] = {}
        for product in self.products:
            for place, leaf in enumerate(product.leaves):
                if isinstance(leaf, _Operand):
                    key = (place, leaf.dtype, leaf.device)
                    room[key] = max(room.get(key, 0), leaf.room)
        for (place, dtype, device), size in room.items():
            number = torch.randn(size, device=device) if dtype.is_floating_point else torch.ones(size, device=device)
            buffers[place, dtype, device] = number.to(dtype)

        def tensor(place: int, leaf: Any) -> Any:
            if not isinstance(leaf, _Operand):
                return leaf
            return buffers[place, leaf.dtype, leaf.device].as_strided(leaf.shape, leaf.stride)

        return [
            (product.operator, *tree_unflatten([tensor(i, leaf) for i, leaf in enumerate(product.leaves)], product.structure))
            for product in self.products
        ]


class _Recorder(TorchDispatchMode):
    def __init__(self, weights: set[int], keep: bool) -> None:
        super().__init__()
        self.products, self._weights = Products(can_replay=keep), weights

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        formula = _FORMULAS.get(operator.overloadpacket)
        if formula is None:
            with self:  # in inference mode `linear` and `matmul` are not split into smaller operations
                parts = operator.decompose(*args, **kwargs)
            return operator(*args, **kwargs) if parts is NotImplemented else parts
        out = operator(*args, **kwargs)
        flops = formula(*args, **kwargs, out_val=out)
        leaves, structure = tree_flatten((args, kwargs)) if self.products.can_replay else ([], None)
        self.products.products.append(_Product(operator, [self._describe(leaf) for leaf in leaves], structure, flops))
        return out

    def _describe(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.is_mkldnn or leaf.untyped_storage().data_ptr() in self._weights:
            return leaf
        return _Operand(leaf.shape, leaf.stride(), leaf.dtype, leaf.device)


def record(modules: Iterable[torch.nn.Module], compute: Callable[[], Result], *, keep: bool = True) -> tuple[Result, Products]:
    """Run ``compute`` once and record its matrix products.

    Args:
        modules: Their parameters are the weights; a replay reads them from where they are.
        compute: The computation. Attention counts in full, with masked positions, because they are computed.
        keep: Whether the products can be replayed; False if only ``flops`` is needed.

    Returns:
        What ``compute`` returned, and the products.
    """
    weights = {weight.untyped_storage().data_ptr() for module in modules for weight in module.parameters()}
    with _Recorder(weights, keep) as recorder:
        result = compute()
    return result, recorder.products


PEAK_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
"""Widths of square matrices whose product keeps a device busy."""


def matrix_product_peak(
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    sizes: Sequence[int] | None = None,
    seconds: float = 0.5,
) -> float:
    """GFLOP/s of the fastest product of two square matrices, plain or with packed weights, with torch's current number of threads.

    Args:
        dtype: Number type of the matrices.
        device: The device.
        sizes: Widths of the matrices; None: widths that keep the device busy.
        seconds: The least time for each width, half of it for either kind.
    """
    best = 0.0
    with torch.inference_mode():
        for size in sizes or PEAK_SIZES[torch.device(device).type]:
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            for multiply in (partial(torch.mm, a, b, out=torch.mm(a, b)), partial(packed(linear(b, None)), a)):
                multiply()  # warm-up
                end = time.perf_counter() + seconds / 2
                while time.perf_counter() < end:
                    start = time.perf_counter()
                    multiply()
                    _synchronise()
                    best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def _synchronise() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
