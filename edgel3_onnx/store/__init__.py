"""Which variants there are, and where their graphs come from: the registry, the download, the cache."""
