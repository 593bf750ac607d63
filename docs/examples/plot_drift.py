"""
A recorder that changes during the day
======================================

A microphone that gets wet still records. Its embeddings tell.
"""

# %%
# A recorder takes three seconds every ten minutes: birds in the morning, an engine by day, rain in the evening. From
# 15:00 on its membrane gets damp: first little, then more of what lies above 800 Hz is lost.
import matplotlib.pyplot as plt
import numpy as np
from sounds import SR, make

import edgel3_onnx

rng = np.random.default_rng(0)
hours = np.arange(0, 24, 1 / 6)


def scene(hour):
    kind = "bird" if 4 < hour < 9 else "rain" if hour > 19 else "engine" if 7 < hour < 18 else "knocks"
    return make(kind, seed=int(rng.integers(1000)), noise=0.1)


def damp(sound, hour):
    loss = np.clip((hour - 15) / 3, 0, 1)
    spectrum = np.fft.rfft(sound)
    frequency = np.fft.rfftfreq(sound.size, 1 / SR)
    spectrum *= np.where(frequency > 800, 10 ** (-loss * 40 / 20), 1)
    return np.fft.irfft(spectrum, sound.size).astype(np.float32)


dry = [scene(hour) for hour in hours]
recorded = [damp(sound, hour) for sound, hour in zip(dry, hours, strict=True)]

# %%
# One embedding per clip, beside a good recorder's in the same place.
model = edgel3_onnx.load_embedding_model("micro")


def means(clips):
    found, _ = edgel3_onnx.get_embedding(clips, SR, model, center=False, hop_size=0.5, verbose=0)
    return np.stack([each.mean(axis=0) for each in found])


good, own = means(dry), means(recorded)

# %%
# Days differ, and so does what is heard: the distance from this morning alone would ring at every rain. The distance
# of two recorders side by side does not. Its alarm is set on the first twelve hours.
between = np.linalg.norm(own - good, axis=1)
spread = np.linalg.norm(good - good.mean(axis=0), axis=1).mean()
drift = between / spread
nearby = np.convolve(drift, np.ones(6) / 6, "same")

figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, layout="constrained", height_ratios=[1.2, 1])
axes[0].imshow(
    ((own - good.mean(0)) / (good.std(0) + 1e-9)).T, aspect="auto", extent=(0, 24, 0, 64), cmap="RdBu", vmin=-3, vmax=3
)
axes[0].set(ylabel="feature", title="embeddings of the recorder, one column per clip")
axes[1].plot(hours, drift, color="0.7", lw=1)
axes[1].plot(hours, nearby, color="C3", lw=2)
axes[1].axvline(15, color="black", ls=":", lw=1)
axes[1].annotate("gets damp", (15, nearby.max()), xytext=(5, 0), textcoords="offset points", va="top")
axes[1].set(xlabel="hour", ylabel="distance / spread of the day", xlim=(0, 24), xticks=range(0, 25, 3), ylim=(0, None))
plt.show()

# %%
first = hours[np.argmax(nearby > 0.1)]
print(f"the mean of an hour passes a tenth of the day's spread at {int(first)}:{round(first % 1 * 60):02}")
