"""Everything that reaches the terminal: guarded streams, progress, and numbers in messages."""
