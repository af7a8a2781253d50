"""Shortcuts and safeguards around the loop: skipped candidates, remembered steps, ties, checks for NaN."""
