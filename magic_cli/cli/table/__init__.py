"""What the command line knows about each command, by purpose: all that ``--help`` needs."""
