"""Many recordings into one dataset, by one process, by several, or by the machines of a cluster."""
