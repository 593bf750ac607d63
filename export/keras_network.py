"""The published networks in Keras 3, from waveform to embedding. Importing this module imports TensorFlow."""

from typing import Any

import keras
import tensorflow as tf

from edgel3_onnx.spec import FRONTENDS, POOL_AFTER, FrontEndSpec, NetworkSpec


@keras.saving.register_keras_serializable(package="edgel3_onnx")
class LogMel(keras.layers.Layer):  # type: ignore[misc]
    """Waveform (N, 1, sample_rate) to log-mel image (N, n_mels, n_frames, 1) in dB.

    Its weights have the shapes and the order that the published files store for their front end, so that
    Keras loads those files: real and imaginary DFT kernels (n_fft, 1, 1, bins), Hann window included, and mel
    bands (bins, n_mels).
    """

    def __init__(self, frontend: str, **kwargs: Any) -> None:
        """``frontend`` is a key of FRONTENDS."""
        super().__init__(trainable=False, **kwargs)
        self.frontend = frontend
        self._spec: FrontEndSpec = FRONTENDS[frontend]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        spec, bins = self._spec, self._spec.n_fft // 2 + 1
        for name, shape in (
            ("real_kernels", (spec.n_fft, 1, 1, bins)),
            ("imag_kernels", (spec.n_fft, 1, 1, bins)),
            ("mel_bands", (bins, spec.n_mels)),
        ):
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False))

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
    """An uninitialised ``keras.Model`` from audio float32 (N, 1, sample_rate) to embedding float32 (N, D)."""
    frontend = FRONTENDS[network.frontend]
    audio = keras.Input((1, frontend.window_length), name="audio")
    maps = LogMel(network.frontend, name="melspectrogram")(audio)
    maps = keras.layers.BatchNormalization(epsilon=network.batch_norm_epsilon)(maps)
    last = len(network.filters)
    for number, filters in enumerate(network.filters, 1):
        name = "audio_embedding_layer" if number == last else None
        maps = keras.layers.Conv2D(filters, 3, padding="same", name=name)(maps)
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
