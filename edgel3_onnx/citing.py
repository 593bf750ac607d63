"""How to cite the network that made one's embeddings."""

from edgel3_onnx.checks import check_choice
from edgel3_onnx.models import EmbeddingModel, models_in_use
from edgel3_onnx.version import __version__

_SEA = """\
@inproceedings{srivastava2021sea,
  title     = {Specialized Embedding Approximation for Edge Intelligence: A Case Study in Urban Sound Classification},
  author    = {Srivastava, Sangeeta and Roy, Dhrubojyoti and Cartwright, Mark and Bello, Juan P. and Arora, Anish},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  pages     = {8378--8382},
  year      = {2021}
}
"""
_EDGEL3 = """\
@inproceedings{kumari2019edgel3,
  title     = {{EdgeL3}: Compressing {L3-Net} for Mote-Scale Urban Noise Monitoring},
  author    = {Kumari, Sangeeta and Roy, Dhrubojyoti and Cartwright, Mark and Bello, Juan Pablo and Arora, Anish},
  booktitle = {IEEE International Parallel and Distributed Processing Symposium Workshops (IPDPSW)},
  doi       = {10.1109/IPDPSW.2019.00145},
  year      = {2019}
}
"""
_MICRO = f"""\
@software{{edgel3onnx,
  title   = {{edgel3-onnx: EdgeL3 and SEA audio embeddings through ONNX Runtime}},
  note    = {{The model micro, a student of SEA-64}},
  author  = {{{{The edgel3-onnx authors}}}},
  version = {{{__version__}}}
}}
"""
_WORKS = {"micro": (_MICRO, _SEA), "sea": (_SEA,), "sparse": (_EDGEL3,)}


def cite(model: EmbeddingModel | str | None = None) -> None:
    """Print what to cite, as BibTeX.

    Parameters
    ----------
    model : EmbeddingModel, {"sparse", "sea", "micro"} or None
        A loaded model, or its ``model_type``. None: all that are in use; if none is, every one there is.

    Raises
    ------
    EdgeL3ArgumentError
        If it is none of these.

    Examples
    --------
    >>> edgel3_onnx.cite("sparse")  # doctest: +ELLIPSIS
    @inproceedings{kumari2019edgel3,
    ...
    """
    if model is None:
        names = [each.options.model_type for each in models_in_use()] or list(_WORKS)
    else:
        names = [
            model.options.model_type if isinstance(model, EmbeddingModel) else check_choice("model", model, _WORKS)
        ]
    works = dict.fromkeys(work for name in sorted(set(names)) for work in _WORKS[name])
    print("\n".join(works), end="")
