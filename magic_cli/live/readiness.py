"""The models of the page before it is served: those chosen at first are loaded, the others are looked at."""

from __future__ import annotations

from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.live.wishes import Models, usual_settings
from magic_cli.live.writing import Loaded
from magic_cli.models.sources import local_files
from magic_cli.terminal.progress import LOADING, progress


def make_ready(settings: LiveSettings, loaded: Loaded) -> None:
    """Load the language model and the image-text model that the page shows as chosen; captions are written by these objects.

    Of the others, which may be large, those that the user named are looked at if they lie on this machine; no weights are read.

    Args:
        settings: Settings of ``magic live``.
        loaded: Where the models stay.

    Raises:
        MagicError: A model, or the device, is not there or cannot be used.
    """
    from magic_cli.models.loading import check_image_text_model, check_language_model

    writers, lookers = settings.offered("language_model"), settings.offered("image_text_model")
    for writer in (settings.language_models or [])[1:]:
        model = usual_settings(Models(writer, lookers[0], settings.run), "magic").language_model
        if local_files(model) is not None:
            check_language_model(model)
    for looker in (settings.image_text_models or [])[1:]:
        model = usual_settings(Models(writers[0], looker, settings.run), "magic").image_text_model
        if local_files(model) is not None:
            check_image_text_model(model)
    with progress(None, LOADING, "model", leave=False):
        loaded.shelf.load_both(usual_settings(Models(writers[0], lookers[0], settings.run), "magic"), loaded.work)
