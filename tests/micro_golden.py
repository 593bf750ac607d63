"""Golden embeddings of the shipped graph for seeded audio; run this file to write them after a new training run."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import golden

DATA = Path(__file__).parent / "data" / "micro"
GRAPH = Path(__file__).parents[1] / "onnx_models" / "micro.onnx"


@dataclass(frozen=True)
class Case:
    """Arguments of golden.audio, and of get_embedding, which centres."""

    sr: int  # Hz
    seconds: float
    seed: int
    hop_size: float  # seconds

    @property
    def path(self) -> Path:
        return DATA / f"sr{self.sr}_{self.seconds}s_a{self.seed}_h{self.hop_size}.npz"

    def audio(self) -> np.ndarray:
        """float32 (round(sr * seconds),)."""
        return golden.audio(self.sr, self.seconds, self.seed).astype(np.float32)


CASES = (Case(8000, 3.3, 21, 0.1), Case(22050, 2.0, 22, 0.25), Case(44100, 0.4, 23, 0.1))


def embed(case: Case) -> np.ndarray:
    """float32 (T, 64): front end and graph, without the layers of the package above them."""
    import onnxruntime

    from edgel3_onnx.frontend import log_mel, resample
    from edgel3_onnx.spec import FRONTENDS

    spec = FRONTENDS["sea"]
    audio = case.audio()
    if case.sr != spec.sample_rate:
        audio = resample(audio, case.sr, spec.sample_rate)
    hop_length = int(case.hop_size * spec.sample_rate)
    images = log_mel(audio, spec, hop_length=hop_length, center=True)
    session = onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"])
    return session.run(None, {"melspectrogram": images})[0]


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        np.savez(case.path, embedding=embed(case), **asdict(case))
