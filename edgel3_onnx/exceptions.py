"""The exceptions and the warning that this package raises."""


class EdgeL3Error(Exception):
    """Anything that went wrong in this package and that a caller may want to catch."""


class EdgeL3ArgumentError(EdgeL3Error, ValueError):
    """An argument has a value, shape or type that is not allowed."""


class EdgeL3Warning(UserWarning):
    """Something unusual about the input that does not prevent an embedding."""
