"""Runs of commands that write texts: settings, names, folders, kinds of text, the loop over batches."""
