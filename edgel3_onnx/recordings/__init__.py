"""From a file to samples, and whether they are all of it."""
