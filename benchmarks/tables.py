"""Tables: memory while a CSV is written, whether pandas and DuckDB read back the numbers of npz, and label files.

    python benchmarks/tables.py [WINDOWS]

Prints the peak resident size of writing the table of a dataset of 10 000 windows of 64 values, and of WINDOWS (default
1 000 000), seconds and megabytes; then the largest relative difference between the npz of the smaller one and what
pandas and DuckDB read of CSV and parquet, as float32; then the seconds for reading and writing as many labels.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ALLOWED = 60e6  # bytes above a table of 10 000 windows
DIM, FEW, PART = 64, 10_000, 262_144  # values, windows, windows of a part
WRITE = """
import resource, sys
from edgel3_onnx.outputs.table import write_table
write_table(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def embeddings(first, count):
    from edgel3_onnx.embedding import Embeddings

    values = np.random.default_rng(first).gamma(0.3, 5.0, (count, DIM)).astype(np.float32)
    number = np.arange(first, first + count)
    return Embeddings(values, number * 0.1, number * 800 - 4000, number * 0.1 - 0.5, number * 0.1 + 0.5)


def write_dataset(folder, windows):
    """One recording of ``windows``, in parts as a run writes them."""
    from pyarrow import parquet

    from edgel3_onnx.outputs import rows

    folder.mkdir()
    for first in range(0, windows, PART):
        count = min(PART, windows - first)
        record = [{"path": "a.wav", "absolute_path": "/a.wav", "graph_sha256": "0", "windows": count}]
        kept = rows.schema(DIM).with_metadata({"edgel3_onnx": json.dumps(record)})
        with parquet.ParquetWriter(folder / f"part-{first:08}.parquet", kept, compression="zstd") as part:
            for group in range(first, first + count, 16384):
                table = rows.table("a.wav", embeddings(group, min(16384, first + count - group)), {})
                part.write_table(table.replace_schema_metadata(kept.metadata))


def peak(folder, format):
    """Bytes of resident memory at most, while the table is written in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-P", "-c", WRITE, str(folder), format]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder.parent)
    size = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    table = Path(f"{folder}.{format}")
    print(
        f"{format}, {folder.name} windows: {size / 1e6:.0f} MB of memory, {time.perf_counter() - began:.1f} s, "
        f"{table.stat().st_size / 1e6:.0f} MB"
    )
    return size


def read_back(folder):
    """The embedding by each reader, in the order of the windows."""
    import duckdb
    import pandas

    names = [f"e{k}" for k in range(DIM)]
    for format in ("csv", "csv.gz"):
        path = f"{folder}.{format}"
        yield f"pandas, {format}", pandas.read_csv(path)[names].to_numpy()
        yield f"DuckDB, {format}", duckdb.sql(f"FROM read_csv('{path}') ORDER BY start").df()[names].to_numpy()
    yield "pandas, parquet", np.stack(pandas.read_parquet(folder)["embedding"].to_list())
    rows = duckdb.sql(f"FROM '{folder}/part-*.parquet' ORDER BY start").df()
    yield "DuckDB, parquet", np.stack(rows["embedding"].to_list())


def time_labels(folder, count):
    """Print what each format takes for ``count`` regions; whether what was read is not what was written."""
    from edgel3_onnx import labels

    regions = [labels.Region(None, k / 48000, k / 48000 + 1, f"bird {k % 9}") for k in range(count)]
    failed = False
    for write in (labels.write_audacity, labels.write_raven, labels.write_csv):
        path = Path(folder, "labels")
        began = time.process_time()
        write(path, regions)
        written = time.process_time()
        found = labels.read_regions(path)
        print(
            f"{write.__name__}, {count} regions: {written - began:.1f} s, reading {time.process_time() - written:.1f} s"
        )
        failed |= [(r.start, r.end, r.label) for r in found] != [(r.start, r.end, r.label) for r in regions]
    return failed


def main():
    from edgel3_onnx.outputs.arrays import write_npz

    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder, str(FEW))
        for windows in (FEW, many):
            write_dataset(Path(folder, str(windows)), windows)
        for format in ("csv", "csv.gz"):
            growth = peak(Path(folder, str(many)), format) - peak(few, format)
            print(f"{format}: {growth / 1e6:.0f} MB more for {many} windows (allowed {ALLOWED / 1e6:.0f} MB)")
            failed |= growth > ALLOWED
        with open(f"{few}.npz", "wb") as file:
            write_npz(file, embeddings(0, FEW), {})
        with np.load(f"{few}.npz") as arrays:
            wanted = arrays["embedding"]
        for reader, found in read_back(few):
            difference = np.abs(found.astype(np.float32) - wanted)[wanted != 0] / np.abs(wanted[wanted != 0])
            print(f"{reader}: largest relative difference from npz {difference.max():.1e}")
            failed |= found.shape != wanted.shape or difference.max() > 1e-9 or bool(found[wanted == 0].any())
        failed |= time_labels(folder, many)
    return failed


if __name__ == "__main__":
    sys.exit(main())
