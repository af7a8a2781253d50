"""Where the batches of a run are written: in this process, in several processes, or on a cluster."""
