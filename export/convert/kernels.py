"""The front end as matrices, which is how the published files store it."""

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.spec import FrontEndSpec

# Of a matrix's largest value. Published matrices are float64 results rounded to float32: within 6.4e-8. Sixteen times
# that leaves room for a file whose matrices were computed in float32. Another front end is off by far more: one with a
# symmetric Hann window in place of the periodic one by 1e-3, with a Hamming window by 8e-2.
TOLERANCE = 1e-6

Array = npt.NDArray[np.float64]


def check_kernels(stored: list[npt.NDArray[np.float32]], spec: FrontEndSpec, where: str) -> None:
    """Refuse the matrices of a weight file if they are not those of ``spec``.

    ``stored`` are the real and the imaginary DFT kernels (n_fft, 1, 1, n_fft // 2 + 1) and the mel bands
    (n_fft // 2 + 1, n_mels). This package computes the front end itself, so another one would go unnoticed.

    Raises EdgeL3Error, after ``where``, naming the matrix and how far it is off.
    """
    real, imaginary = dft_kernels(spec)
    for name, found, expected in (
        ("real DFT kernels", stored[0], real),
        ("imaginary DFT kernels", stored[1], imaginary),
        ("mel bands", stored[2], mel_bands(spec)),
    ):
        difference = np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max()
        if not difference <= TOLERANCE:
            raise EdgeL3Error(
                f"{where}: made for another front end: its {name} differ from those of {spec.name!r} by "
                f"{difference:.1e} of the largest value (allowed: {TOLERANCE:g})"
            )


def dft_kernels(spec: FrontEndSpec) -> tuple[Array, Array]:
    """Real and imaginary part of the Fourier transform, each float64 (n_fft, n_fft // 2 + 1), Hann window included."""
    period = 2 * np.pi * np.arange(spec.n_fft) / spec.n_fft
    window = 0.5 - 0.5 * np.cos(period)
    phase = np.outer(np.arange(spec.n_fft), np.arange(spec.n_fft // 2 + 1)) % spec.n_fft
    return window[:, None] * np.cos(period)[phase], window[:, None] * -np.sin(period)[phase]


def mel_bands(spec: FrontEndSpec) -> Array:
    """Triangular filters, float64 (n_fft // 2 + 1, n_mels), from power spectrum to mel bands.

    Source: HTK book, section 5.6 (mel(f) = 2595 log10(1 + f / 700)); Slaney, Auditory Toolbox (area
    normalisation).
    """
    nyquist = spec.sample_rate / 2  # Hz
    mels = np.linspace(0, 2595 * np.log10(1 + nyquist / 700), spec.n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)  # Hz
    frequencies = np.linspace(0, nyquist, spec.n_fft // 2 + 1)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    triangles: Array = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles
