"""How magic writes HTML: one head, one style sheet and one rule of safety for every page."""
