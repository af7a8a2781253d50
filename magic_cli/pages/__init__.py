"""How magic writes HTML: the head, the style sheet and the safety rules of every page."""
