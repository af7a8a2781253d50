"""What goes to the terminal: guarded streams, progress, counts in messages."""
