"""Calls that a type checker must take or refuse, for ``.ci/run types``; never run.

A refused call carries ``type: ignore`` with the error's name: where the checker finds nothing wrong with it any more,
that is an error itself (warn_unused_ignores).
"""

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx import (
    EmbeddingModel,
    EmbeddingStream,
    get_embedding,
    get_output_path,
    load_embedding_model,
    load_embedding_model_path,
    process_file,
)
from edgel3_onnx.cli import run

Embedding = NDArray[np.float32]
Timestamps = NDArray[np.float64]


def right(audio: NDArray[np.float64], stereo: NDArray[np.int16], path: Path) -> None:
    assert_type(load_embedding_model(), EmbeddingModel)
    assert_type(load_embedding_model("sea", 64, "ft", 95.45, provider="cpu", num_threads=2), EmbeddingModel)
    assert_type(load_embedding_model_path("sea", 64), str)
    model = load_embedding_model(weights=path, provider_options={"device_id": "0"})
    assert_type(model.input_shape, tuple[None, int, int])
    assert_type(model.output_shape, tuple[None, int])
    assert_type(model.predict(audio), Embedding)
    assert_type(model.predict([[0.0] * 8000], batch_size=4, verbose=0), Embedding)

    assert_type(get_embedding(audio, 8000), tuple[Embedding, Timestamps])
    assert_type(get_embedding(stereo, 44100.0, model, center=False), tuple[Embedding, Timestamps])
    assert_type(get_embedding([0.0] * 9000, np.float64(8000)), tuple[Embedding, Timestamps])
    assert_type(get_embedding([audio, audio], 8000), tuple[list[Embedding], list[Timestamps]])
    assert_type(get_embedding([audio, stereo], [8000, 44100]), tuple[list[Embedding], list[Timestamps]])
    get_embedding(audio, 8000, None, "sea", 64, "ft", 95.45, True, 0.1, 1)
    get_embedding(audio, 8000, verbose=False)

    process_file("a.wav", None, None, model, "sea", 64, 95.45, True, 0.1, True)
    process_file([path, "b.wav"], output_dir=path, suffix="s", overwrite=False)
    assert_type(get_output_path(path, ".npz", "out"), str)
    assert_type(run(["a.wav", path], output_dir=path, verbose=True).failed, int)

    stream = EmbeddingStream(model, 44100, 0.1, True)
    assert_type(stream.push(stereo), tuple[Embedding, Timestamps])
    assert_type(stream.flush(), tuple[Embedding, Timestamps])


def wrong(audio: NDArray[np.float64], model: EmbeddingModel, path: Path) -> None:
    load_embedding_model("sea", "64")  # type: ignore[arg-type]
    load_embedding_model("sea", 64, "ft", 95.45, "cpu")  # type: ignore[call-arg]
    load_embedding_model(model_tpye="sea")  # type: ignore[call-arg]
    load_embedding_model(provider_options=[("a", "b")])  # type: ignore[arg-type]
    load_embedding_model_path("sea", provider="cpu")  # type: ignore[call-arg]
    model.predict()  # type: ignore[call-arg]
    model.predict(audio, batch_size="4")  # type: ignore[arg-type]
    model.fit(audio)  # type: ignore[attr-defined]

    get_embedding(audio)  # type: ignore[call-overload]
    get_embedding(audio, "8000")  # type: ignore[call-overload]
    get_embedding(path, 8000)  # type: ignore[call-overload]
    get_embedding(audio, 8000, "sea")  # type: ignore[call-overload]
    get_embedding(audio, 8000, hopsize=0.1)  # type: ignore[call-overload]
    get_embedding(audio, [8000, 8000])  # type: ignore[call-overload]

    process_file(audio)  # type: ignore[arg-type]
    process_file("a.wav", hop="0.1")  # type: ignore[call-arg]
    process_file("a.wav", "out", "s", "sea")  # type: ignore[arg-type]
    get_output_path("a.wav")  # type: ignore[call-arg]
    run(5)  # type: ignore[arg-type]
    run("a.wav", hop_size="0.1")  # type: ignore[arg-type]

    EmbeddingStream(8000, model)  # type: ignore[arg-type]
    EmbeddingStream(model)  # type: ignore[call-arg]
    EmbeddingStream(model, 8000).push()  # type: ignore[call-arg]
