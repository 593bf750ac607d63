"""How far the embeddings are from those of the published edgel3 code: the table of README.md, and one by sample rate.

    python benchmarks/parity.py [REFERENCE]

Without an argument it compares the seeded weights and audio in tests/data/golden. REFERENCE is a directory with
published/, synthetic/, audio/ and embeddings/ as made by edgel3 0.2.1 on TensorFlow 2.15, and rates/ as made by it on
the versions that it pins (TensorFlow 2.0).
"""

import json
import os
import statistics
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from edgel3_onnx import EdgeL3Warning, get_embedding, load_embedding_model

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden
from edgel3_onnx.spec import NETWORKS
from parity import distance, least_cosine, relative_error


def golden_cases(folder):
    for case in golden.cases():
        weights = Path(folder, f"{case['network']}.h5")
        if not weights.exists():
            arrays = golden.weights(case["weights_seed"], NETWORKS[case["network"]], case["pruned"])
            golden.write_h5(weights, arrays, case["network"])
        model = load_embedding_model(case["kind"], case["emb_dim"], weights=weights)
        audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"])
        yield f"{case['network']}, seeded weights", model, audio, case, golden.DATA / case["file"]


def reference_model(reference, weights):
    os.environ["EDGEL3_ONNX_MIRROR"] = str(reference / "published")
    if "sea_ust" in weights:
        return "sea-64, published weights", load_embedding_model("sea", 64)
    return "sparse, random weights", load_embedding_model(weights=reference / weights)


def reference_cases(reference):
    for entry in json.loads((reference / "embeddings" / "index.json").read_text()):
        name, model = reference_model(reference, entry["weights"])
        audio, _ = soundfile.read(reference / "audio" / entry["audio"])
        yield name, model, audio, entry, reference / "embeddings" / entry["file"]


def print_rates(reference):
    """The table by sample rate."""
    published = np.load(reference / "rates" / "published.npz")
    measured = defaultdict(list)
    for entry in json.loads((reference / "rates" / "index.json").read_text()):
        name, model = reference_model(reference, f"synthetic/{entry['weights']}.h5.gz")
        audio = np.load(reference / "rates" / entry["audio"])["audio"]
        options = {"center": entry["center"], "hop_size": entry["hop_size"], "verbose": 0}
        found, _ = get_embedding(audio, entry["sr"], model, **options)
        expected = published[entry["key"]]
        row = len(found), relative_error(found, expected), distance(found, expected)
        measured[name, entry["sr"]].append(row)
    print("\n| model | Hz | windows | largest difference / largest value | median length of difference / length |")
    print("|---|---|---|---|---|")
    for (name, rate), rows in sorted(measured.items()):
        windows, errors, distances = zip(*rows, strict=True)
        print(f"| {name} | {rate} | {sum(windows)} | {max(errors):.1e} | {statistics.median(distances):.1e} |")


def main():
    warnings.simplefilter("ignore", EdgeL3Warning)
    measured = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        cases = reference_cases(Path(sys.argv[1])) if len(sys.argv) > 1 else golden_cases(folder)
        for name, model, audio, case, expected in cases:
            options = {"center": case["center"], "hop_size": case["hop_size"], "verbose": 0}
            found, _ = get_embedding(audio, case["sr"], model, **options)
            expected = np.load(expected)["embedding"]
            key = name, "native" if case["sr"] == model.sample_rate else "resampled"
            measured[key].append((len(found), relative_error(found, expected), least_cosine(found, expected)))
    print("| model | audio | windows | largest difference / largest value | least cosine |")
    print("|---|---|---|---|---|")
    for (name, rate), rows in measured.items():
        windows, errors, cosines = zip(*rows, strict=True)
        print(f"| {name} | {rate} | {sum(windows)} | {max(errors):.1e} | {min(cosines):.7f} |")
    if len(sys.argv) > 1:
        print_rates(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
