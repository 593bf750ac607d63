"""
How fast is this machine?
=========================

Windows of one second that each engine embeds in a second, on one thread. The figures are those of the machine that
built this page; yours differ. ``benchmarks/engines.py`` measures with more care.
"""

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import edgel3_onnx

SECONDS = 0.6  # of measuring, for each bar
audio = np.random.default_rng(0).uniform(-1, 1, 8000 * 20).astype(np.float32)


def windows_per_second(model):
    windows = model.prepare(audio, hop_length=4000)[:32]
    model.predict(windows)
    runs, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        model.predict(windows)
        runs += 1
    return runs * len(windows) / (time.perf_counter() - begin)


def front_end(model):
    rounds, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        images = model.prepare(audio, hop_length=4000)
        rounds += 1
    return rounds * len(images) / (time.perf_counter() - begin)


speeds = {}
for precision, provider in [("fp32", "cpu"), ("int8", "cpu"), ("fp32", "native")]:
    model = edgel3_onnx.load_embedding_model("micro", precision=precision, provider=provider, num_threads=1)
    speeds[f"micro, {precision}\n{'ONNX Runtime' if provider == 'cpu' else 'native engine'}"] = windows_per_second(
        model
    )
speeds["front end:\nlog-mel images"] = front_end(model)

# %%
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
bars = axes.barh(list(speeds), list(speeds.values()), color=["C0", "C0", "C2", "0.6"])
axes.bar_label(bars, fmt="{:,.0f}", padding=4)
axes.set(xlabel="windows per second, one thread", xlim=(0, 1.15 * max(speeds.values())))
axes.invert_yaxis()
plt.show()

# %%
# Ten windows a second are enough for live audio at the default hop.
