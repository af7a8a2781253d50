"""ZeroCap: its settings, its arithmetic, its loop over one image."""
