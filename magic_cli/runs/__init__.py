"""Runs of the commands that write texts: settings, names, folders, kinds of text, and the loop over batches."""
