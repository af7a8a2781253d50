"""From config files and command-line words to checked settings; every default has one home."""
