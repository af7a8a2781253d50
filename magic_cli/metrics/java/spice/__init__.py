"""What SPICE needs besides its formula: jars, cache, runs, failures."""
