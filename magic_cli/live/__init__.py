"""``magic live``: a page on this machine where a photo is captioned by several methods, token by token."""
