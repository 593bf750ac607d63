"""The version of the package; setup.cfg reads it from here."""

__version__ = "0.1.0"
version = __version__  # edgel3's names
short_version = ".".join(version.split(".")[:2])
