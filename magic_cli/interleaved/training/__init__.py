"""Training of the vokens in two stages."""
