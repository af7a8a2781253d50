"""The decoding core: one loop (``generate``), one small class a method, pure scoring functions."""
