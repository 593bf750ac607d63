"""The exceptions and the warning that this package raises."""


class EdgeL3Error(Exception):
    """Anything that went wrong in this package and that a caller may want to catch.

    Examples
    --------
    >>> try:
    ...     edgel3_onnx.process_file("absent.wav", model_type="micro")
    ... except edgel3_onnx.EdgeL3Error as error:
    ...     print(error)
    absent.wav: cannot be read (No such file or directory)
    """


class EdgeL3ArgumentError(EdgeL3Error, ValueError):
    """An argument has a value, shape or type that is not allowed.

    Examples
    --------
    >>> edgel3_onnx.load_embedding_model("sea", emb_dim=65)
    Traceback (most recent call last):
    edgel3_onnx.exceptions.EdgeL3ArgumentError: emb_dim of a sea model must be one of 64, 128, 256, 512, got 65
    """


class WeightsUnavailableError(EdgeL3Error):
    """The weights of a model cannot be had.

    Parameters
    ----------
    tried : str
        What was tried, and how each of it failed: some lines.
    ways_out : list of str
        Those that are left besides a model that comes with the package.
    """

    def __init__(self, tried: str, ways_out: list[str]) -> None:
        super().__init__(tried, ways_out)
        self.tried = tried
        self.ways_out = ways_out

    def __str__(self) -> str:
        return self.explain('edgel3_onnx.load_embedding_model("micro")')

    def explain(self, packaged: str) -> str:
        """The message. Its first way out is to type ``packaged``, which takes a model that comes with the package."""
        ways_out = [
            "take the model that comes with this package, which has embeddings of its own:\n    " + packaged,
            *self.ways_out,
        ]
        return "\n  ".join([f"{self.tried}\nWays out:", *ways_out])


class EdgeL3Warning(UserWarning):
    """Something unusual about the input that does not prevent an embedding.

    Examples
    --------
    >>> import warnings
    >>> warnings.filterwarnings("error", category=edgel3_onnx.EdgeL3Warning)
    """
