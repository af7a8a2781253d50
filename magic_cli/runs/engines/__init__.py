"""Where the batches of a run are written: in this process, in others of this machine, or on a cluster."""
