"""ZeroCap (Tewel et al. 2022): for every token the language model's context is moved by gradient steps towards the image.

Written from the paper's description.
"""

from __future__ import annotations

from dataclasses import dataclass

from magic_cli.decoding.method import WholeTexts
from magic_cli.decoding.request import Request, Written
from magic_cli.decoding.zerocap.settings import ZeroCapSettings


@dataclass
class ZeroCap(ZeroCapSettings, WholeTexts):
    """ZeroCap: gradient steps on the keys and values of the context, then beam search on the shifted distribution."""

    @property
    def writes_side_by_side(self) -> bool:
        return False

    def write(self, request: Request) -> list[Written]:
        from magic_cli.decoding.zerocap.search import ZeroCapSearch

        return [Written(ZeroCapSearch(self, request, index).run()) for index in range(len(request.prompts))]
