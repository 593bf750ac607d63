"""The published networks in Keras 3, from waveform to embedding. Importing this module imports TensorFlow."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgel3_onnx.export.convert.kernels import dft_kernels, mel_bands
from edgel3_onnx.spec import FRONTENDS, POOL_AFTER, FrontEndSpec, NetworkSpec

_WEIGHT_DECAY = 1e-5  # L2 penalty on the kernels, as edgel3 trained with


@keras.saving.register_keras_serializable(package="edgel3_onnx")
class LogMel(keras.layers.Layer):  # type: ignore[misc]
    """Waveform (N, 1, sample_rate) to log-mel image (N, n_mels, n_frames, 1) in dB.

    Its weights have the shapes and the order that the published files store for their front end, so that
    Keras loads those files: real and imaginary DFT kernels (n_fft, 1, 1, bins), Hann window included, and mel
    bands (bins, n_mels). They start as what they should be, so that a network can be trained from scratch.
    """

    def __init__(self, frontend: str, **kwargs: Any) -> None:
        """``frontend`` is a key of FRONTENDS."""
        super().__init__(**{"trainable": False, **kwargs})
        self.frontend = frontend
        self._spec: FrontEndSpec = FRONTENDS[frontend]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        real, imaginary = (kernels[:, None, None, :] for kernels in dft_kernels(self._spec))
        self.real_kernels = self._constant("real_kernels", real)
        self.imag_kernels = self._constant("imag_kernels", imaginary)
        self.mel_bands = self._constant("mel_bands", mel_bands(self._spec))

    def _constant(self, name: str, values: NDArray[np.float64]) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=values.shape,
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(values, dtype),
            trainable=False,
        )

    def call(self, audio: tf.Tensor) -> tf.Tensor:
        spec = self._spec
        samples = tf.reshape(audio, (-1, spec.window_length, 1, 1))
        strides = (1, spec.hop_length, 1, 1)
        real = tf.nn.conv2d(samples, self.real_kernels, strides, "SAME")
        imag = tf.nn.conv2d(samples, self.imag_kernels, strides, "SAME")
        power = tf.square(real) + tf.square(imag)  # (N, n_frames, 1, bins)
        mel_power = tf.tensordot(power[:, :, 0, :], self.mel_bands, 1)  # (N, n_frames, n_mels)
        level = tf.math.log(tf.maximum(tf.sqrt(mel_power), spec.amin)) * (10 / tf.math.log(10.0))
        level = tf.maximum(level - tf.reduce_max(level, axis=(1, 2), keepdims=True), -spec.top_db)
        return tf.transpose(level, (0, 2, 1))[..., tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frontend": self.frontend}


def build_network(network: NetworkSpec) -> keras.Model:
    """A ``keras.Model`` from audio float32 (N, 1, sample_rate) to embedding float32 (N, D), ready to be trained.

    Its front end computes; its kernels are drawn anew each time (He et al. 2015, normal).
    """
    frontend = FRONTENDS[network.frontend]
    audio = keras.Input((1, frontend.window_length), name="audio")
    maps = LogMel(network.frontend, name="melspectrogram")(audio)
    maps = keras.layers.BatchNormalization(epsilon=network.batch_norm_epsilon)(maps)
    last = len(network.filters)
    for number, filters in enumerate(network.filters, 1):
        name = "audio_embedding_layer" if number == last else None
        maps = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(_WEIGHT_DECAY),
            name=name,
        )(maps)
        if number < last or network.final_activation:
            maps = keras.layers.BatchNormalization(epsilon=network.batch_norm_epsilon)(maps)
            maps = keras.layers.ReLU()(maps)
        if number in POOL_AFTER:
            maps = keras.layers.MaxPooling2D(2)(maps)
    maps = keras.layers.GlobalMaxPooling2D(name="embedding")(maps)
    return keras.Model(audio, maps, name="edgel3")


def mel_network(model: keras.Model) -> keras.Model:
    """The part of ``build_network``'s model behind the front end: image (N, n_mels, n_frames, 1) to embedding."""
    return keras.Model(model.get_layer("melspectrogram").output, model.output)
