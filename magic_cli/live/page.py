"""The page: a photo, models, methods and sliders on the left; captions, their steps and the download on the right."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import gradio as gr

from magic_cli.configuration.live_settings import LiveSettings, options
from magic_cli.data.images import UnreadableImage, jpeg_uri
from magic_cli.errors import MagicError
from magic_cli.live.cards import Card, cards_html, inspector_html, photo_html, problem_html
from magic_cli.live.inspector import inspect
from magic_cli.live.photos import check_photo
from magic_cli.live.sessions import Workplace
from magic_cli.live.wishes import SLIDERS, Models, Wish, usual_settings
from magic_cli.live.writing import Loaded, Stopped, write_caption

STEPS = "/steps/"
"""Address of the pages about the steps."""
_PREVIEW = {"side": 640, "quality": 80}
_RANGES = {"alpha": (0.0, 1.0, 0.01), "beta": (0.0, 10.0, 0.1), "k": (1, 100, 1)}
_MEANINGS = {
    "alpha": "weight of the degeneration penalty",
    "beta": "weight of the image",
    "k": "candidates a step",
}
_SECONDS_BETWEEN_SWEEPS, _SECONDS_KEPT = 600, 3600


@dataclass
class Studio:
    """The actions of the page's buttons.

    Attributes:
        settings: Settings of ``magic live``.
        workplace: Folder of photos and runs.
        loaded: The models.
    """

    settings: LiveSettings
    workplace: Workplace
    loaded: Loaded = field(default_factory=Loaded)

    def models(self, language_model: str, image_text_model: str) -> Models:
        """The chosen models."""
        return Models(language_model, image_text_model, self.settings.run)

    def usual(self, language_model: str, image_text_model: str) -> dict[str, float]:
        """Default positions of the sliders for these models.

        Raises:
            MagicError: The models cannot be used.
        """
        decoding = usual_settings(self.models(language_model, image_text_model), "magic").decoding
        return {name: getattr(decoding, name) for name in SLIDERS}

    def take_photo(self, upload: str | None, request: gr.Request) -> tuple[str, str]:
        """Accept or remove a photo; returns its thumbnail, and the reason if it is refused."""
        session = self.workplace.session(_visitor(request))
        if upload is None:
            session.drop_photo()
            return "", ""
        photo = session.take(Path(upload))
        try:
            check_photo(photo, max_megabytes=self.settings.max_megabytes, max_megapixels=self.settings.max_megapixels)
            return photo_html(jpeg_uri(photo, **_PREVIEW), photo.name), ""
        except UnreadableImage as reason:
            session.drop_photo()
            return "", problem_html(str(reason))

    def write(self, *chosen: Any, request: gr.Request) -> Iterator[tuple[str, str, Any]]:
        """Write a caption by each method; yields cards, inspector and download as they change."""
        language_model, image_text_model, methods, alpha, beta, k, seed = chosen
        session = self.workplace.session(_visitor(request))
        runs, no_file = session.begin(), gr.DownloadButton(interactive=False, value=None)
        photo, stop = session.photo, session.stop  # the visitor may drop another photo while captions for this one are written
        if photo is None or not methods:
            missing = "drop a photo first" if photo is None else "tick a method first"
            yield problem_html(missing), "", no_file
            return
        sliders = (("alpha", float(alpha)), ("beta", float(beta)), ("k", int(k)))
        models = self.models(language_model, image_text_model)
        wishes = [Wish(models, method, sliders, int(seed or 0)) for method in methods]
        cards: list[Card] = []
        for wish in wishes:
            try:
                cards.append(Card(wish.method, wish.command(photo.name)))
            except MagicError as error:
                cards.append(Card(wish.method, "", "failed", str(error)))
        for number, wish in enumerate(wishes):
            if cards[number].state == "failed":
                continue
            for card in self._written(cards[number], wish, (photo, runs / wish.method), stop):
                cards[number] = card
                yield cards_html(cards), "", no_file
        if session.stop is not stop or not runs.is_dir():
            return
        done = [runs / card.method for card in cards if card.state == "done"]
        if not done:
            yield cards_html(cards), "", no_file
            return
        page, name = runs / "steps.html", photo.name
        inspect(done, page, title=name)
        address = f"{STEPS}{self.workplace.publish(page)}#item={quote(name, safe='')}"
        yield cards_html(cards), inspector_html(address), _download(photo, runs, cards)

    def _written(self, card: Card, wish: Wish, files: tuple[Path, Path], stop: Event) -> Iterator[Card]:
        """Yield the card while its caption is written into a folder."""
        began, (photo, folder) = time.monotonic(), files
        card = replace(card, state="writing")
        try:
            for told in write_caption(wish, photo, folder, self.loaded, stop):
                card = replace(card, text=told.text)
                yield replace(card, state="done", seconds=time.monotonic() - began) if told.is_done else card
        except Stopped:
            shutil.rmtree(folder, ignore_errors=True)
            yield replace(card, state="stopped")
        except MagicError as error:
            shutil.rmtree(folder, ignore_errors=True)
            yield replace(card, state="failed", text=str(error))

    def stop(self, request: gr.Request) -> None:
        """Stop what is being written."""
        self.workplace.session(_visitor(request)).stop.set()

    def leave(self, request: gr.Request) -> None:
        """Handle the closing of the page."""
        if request.session_hash is not None:
            self.workplace.leave(request.session_hash)


def _visitor(request: gr.Request) -> str:
    """The name that the browser has for this visit."""
    assert request.session_hash is not None  # Gradio names every browser that presses a button
    return request.session_hash


def _download(photo: Path, runs: Path, cards: Sequence[Card]) -> Any:
    """The run folders with the photo and the command lines, as a zip."""
    shutil.copy(photo, runs)
    commands = "\n".join(card.command for card in cards if card.state == "done")
    (runs / "commands.txt").write_text(f"{commands}\n", encoding="utf-8")
    file = shutil.make_archive(str(runs.parent / "magic-live"), "zip", runs)
    return gr.DownloadButton(interactive=True, value=file)


def build_page(studio: Studio) -> gr.Blocks:
    """Build the page and connect its controls."""
    settings = studio.settings
    language_models, image_text_models = settings.offered("language_model"), settings.offered("image_text_model")
    usual = studio.usual(language_models[0], image_text_models[0])
    kept = (_SECONDS_BETWEEN_SWEEPS, _SECONDS_KEPT)
    with gr.Blocks(title="magic live", analytics_enabled=False, delete_cache=kept) as page:
        gr.Markdown("# magic live\nDrop a photo, choose methods, and see their captions written token by token.")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.File(label="Photo", elem_id="photo", height=110)
                problem = gr.HTML(elem_id="problem")
                picture = gr.HTML(elem_id="picture")
                writer = gr.Dropdown(language_models, value=language_models[0], label="Language model: who writes")
                looker = gr.Dropdown(image_text_models, value=image_text_models[0], label="Image-text model: who looks")
                methods = gr.CheckboxGroup(list(options("decoding")), value=settings.methods, label="Methods", elem_id="methods")
                sliders = [
                    gr.Slider(*_RANGES[name][:2], step=_RANGES[name][2], value=usual[name], label=f"{name}: {_MEANINGS[name]}",
                              elem_id=name)
                    for name in SLIDERS
                ]  # fmt: skip
                seed = gr.Number(0, label="seed of sampled methods", precision=0, minimum=0, elem_id="seed")
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    go = gr.Button("Write captions", variant="primary", elem_id="write")
                    stop = gr.Button("Stop", elem_id="stop")
                    download = gr.DownloadButton("Download the runs", interactive=False, elem_id="download")
                cards = gr.HTML(elem_id="cards")
                inspector = gr.HTML(elem_id="inspector")
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        one_at_a_time: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models"}
        upload.change(studio.take_photo, upload, [picture, problem], **quiet)
        for model in (writer, looker):
            model.change(_slider_mover(studio), [writer, looker], [*sliders, problem], **quiet)
        chosen = [writer, looker, methods, *sliders, seed]
        # who presses the button while captions are written gets theirs after these
        again: dict[str, Any] = {"trigger_mode": "always_last"}
        go.click(_writer(studio), chosen, [cards, inspector, download], **quiet, **one_at_a_time, **again)
        stop.click(studio.stop, None, None, queue=False, **quiet)
        page.unload(studio.leave)
    page.queue(default_concurrency_limit=4, max_size=32)
    return page


def _writer(studio: Studio) -> Callable[..., Iterator[Any]]:
    """Wrap ``Studio.write``: Gradio reads the signature to find the parameter for the request."""

    def write(request: gr.Request, *chosen: Any) -> Iterator[Any]:
        yield from studio.write(*chosen, request=request)

    return write


def _slider_mover(studio: Studio) -> Callable[..., list[Any]]:
    def move(language_model: str, image_text_model: str) -> list[Any]:
        try:
            usual = studio.usual(language_model, image_text_model)
        except MagicError as error:
            return [*[gr.skip()] * len(SLIDERS), problem_html(str(error))]
        return [*(usual[name] for name in SLIDERS), ""]

    return move
