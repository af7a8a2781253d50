"""What makes decoding fast or stable, around the loop and not in it: laziness, remembered steps, ties, checks for NaN."""
