"""magic: image-guided text generation from the command line."""

__version__ = "0.2.0"
