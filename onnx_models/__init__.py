"""The list of published variants, and the graphs that may be shipped."""
