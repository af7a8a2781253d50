"""``magic report``: one page to look at what systems wrote: items, scores, settings, failures, and how each word was chosen."""
