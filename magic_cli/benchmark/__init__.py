"""Measures how fast decoding is: models of the paper's shapes, the released algorithm as baseline, counted arithmetic."""
