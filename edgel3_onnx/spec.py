"""The numbers of the front ends and of the networks; nothing else in the project repeats them."""

from dataclasses import dataclass
from numbers import Real

from edgel3_onnx.checks import check_count
from edgel3_onnx.exceptions import EdgeL3ArgumentError

FFT_SIZES = (1024, 2048)  # samples; what the C front end has tables for


@dataclass(frozen=True)
class FrontEndSpec:
    """How one second of audio becomes the log-mel image that a network takes.

    Source: the Kapre 0.1.4 ``Melspectrogram`` layer as edgel3 0.2.1 configures it.

    Raises
    ------
    EdgeL3ArgumentError
        If a number is of another type, or one that the front end was not built for.
    """

    name: str
    sample_rate: int  # Hz, 1 to 1 000 000
    n_fft: int  # samples, one of FFT_SIZES; also the length of the periodic Hann window
    hop_length: int  # samples between STFT frames, 1 to sample_rate
    n_mels: int  # 1 to n_fft / 2: HTK bands from 0 Hz to sample_rate / 2, Slaney area normalisation, on power
    amin: float = 1e-10  # floor under the mel magnitude before the logarithm, 1e-100 to 1
    top_db: float = 80.0  # dB kept below the window's maximum, 0 to 1000

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise EdgeL3ArgumentError(f"name={self.name!r} is not a string")
        self._check_integer("sample_rate", 1, 1_000_000)
        self._check_integer("n_fft", min(FFT_SIZES), max(FFT_SIZES))
        if self.n_fft not in FFT_SIZES:
            raise EdgeL3ArgumentError(f"n_fft={self.n_fft} is not available; choose one of: {FFT_SIZES}")
        self._check_integer("hop_length", 1, self.sample_rate)
        self._check_integer("n_mels", 1, self.n_fft // 2)
        self._check_real("amin", 1e-100, 1)
        self._check_real("top_db", 0, 1000)

    def _check_integer(self, field: str, least: int, most: int) -> None:
        object.__setattr__(self, field, check_count(field, getattr(self, field), least, most))

    def _check_real(self, field: str, least: float, most: float) -> None:
        value = getattr(self, field)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not (is_number and least <= value <= most):
            raise EdgeL3ArgumentError(f"{field}={value!r} is not a number from {least} to {most}")
        object.__setattr__(self, field, float(value))

    @property
    def window_length(self) -> int:
        """Samples of one embedding window: one second."""
        return self.sample_rate

    @property
    def n_frames(self) -> int:
        """STFT frames of one window, with TensorFlow's 'same' padding."""
        return -(-self.window_length // self.hop_length)

    @property
    def pad_left(self) -> int:
        """Zeros that 'same' padding puts in front of a window, in samples."""
        total = max((self.n_frames - 1) * self.hop_length + self.n_fft - self.window_length, 0)
        return total // 2


@dataclass(frozen=True)
class NetworkSpec:
    """8 convolutions 3x3 in 4 blocks; 2x2 max-pooling between blocks, global max-pooling at the end."""

    frontend: str  # key of FRONTENDS
    filters: tuple[int, int, int, int, int, int, int, int]  # output channels of each convolution
    final_activation: bool  # BatchNorm and ReLU after the last convolution
    batch_norm_epsilon: float = 1e-3

    @property
    def embedding_dim(self) -> int:
        return self.filters[-1]


FRONTENDS = {
    "sea": FrontEndSpec("sea", sample_rate=8000, n_fft=1024, hop_length=160, n_mels=64),
    "sparse": FrontEndSpec("sparse", sample_rate=48000, n_fft=2048, hop_length=242, n_mels=256),
}

NETWORKS = {
    "sea-64": NetworkSpec("sea", (32, 32, 64, 64, 128, 128, 64, 64), final_activation=True),
    "sea-128": NetworkSpec("sea", (32, 32, 64, 64, 128, 128, 128, 128), final_activation=True),
    "sea-256": NetworkSpec("sea", (32, 32, 64, 64, 128, 128, 256, 256), final_activation=True),
    "sea-512": NetworkSpec("sea", (64, 64, 128, 128, 256, 256, 512, 512), final_activation=True),
    "sparse": NetworkSpec("sparse", (64, 64, 128, 128, 256, 256, 512, 512), final_activation=False),
}

POOL_AFTER = (2, 4, 6)  # 2x2 max-pooling follows these convolutions of every network

RESAMPLERS = ("kaiser_best", "soxr")  # resampy 0.2.2's, which gives the published numbers; libsoxr's HQ
