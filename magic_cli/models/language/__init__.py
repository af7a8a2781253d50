"""Causal language models: reading them, looking ahead with them."""
