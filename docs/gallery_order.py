"""The order of the gallery: from one recording to many."""


class Order:
    """Sorts the examples' file names."""

    names = ("recording", "map", "classifier", "search", "drift", "datasets", "engines")

    def __init__(self, src_dir):
        pass

    def __call__(self, filename):
        return self.names.index(filename.removeprefix("plot_").removesuffix(".py"))
