"""
Search by example, in SQL
=========================

A corpus is one parquet dataset, a row for each window. DuckDB searches it where it lies.
"""

# %%
# Sixty files of four seconds, embedded by the command into one dataset.
import tempfile
from pathlib import Path

import duckdb
import matplotlib.pyplot as plt
from sounds import SR, make, write_folder

import edgel3_onnx
from edgel3_onnx import cli

folder = Path(tempfile.mkdtemp())
(folder / "sounds").mkdir()
write_folder(folder / "sounds", seconds=4)
cli.main(
    [str(folder / "sounds"), "--model-type", "micro", "--format", "parquet", "--output", str(folder / "set"), "-q"]
)

# %%
# The example: a siren that is not in the corpus.
example = make("siren", seed=99, seconds=1)
query, _ = edgel3_onnx.get_embedding(example, SR, model_type="micro", center=False, verbose=0)

# %%
# The mean of the corpus is taken off everything first, without which all cosines are about 0.9. Of each file the best
# window counts.
found = duckdb.sql(
    f"""
    WITH windows AS (
        FROM '{folder}/set/*.parquet' SELECT path, timestamp, embedding::FLOAT[64] AS e
    ), centre AS (
        SELECT list(m ORDER BY k)::FLOAT[64] AS c FROM (
            SELECT k, avg(x) AS m
            FROM (SELECT unnest(e::FLOAT[]) AS x, generate_subscripts(e::FLOAT[], 1) AS k FROM windows)
            GROUP BY k)
    ), scored AS (
        SELECT path, timestamp, list_cosine_similarity(
            list_transform(list_zip(e::FLOAT[], c::FLOAT[]), lambda p: p[1] - p[2]),
            list_transform(list_zip({query[0].tolist()}::FLOAT[], c::FLOAT[]), lambda p: p[1] - p[2])) AS likeness
        FROM windows, centre
    )
    SELECT parse_filename(path) AS file, arg_max(timestamp, likeness) AS seconds, max(likeness) AS likeness
    FROM scored GROUP BY file ORDER BY likeness DESC
    """
).fetchall()
for file, seconds, likeness in found[:8]:
    print(f"{file:14} {seconds:4.1f} s  {likeness:.3f}")

# %%
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
is_siren = ["siren" in file for file, _, _ in found]
axes.bar(range(len(found)), [row[2] for row in found], color=["C3" if each else "0.8" for each in is_siren])
axes.set(xlabel="files, best first", ylabel="likeness to the example", xlim=(-0.7, len(found)))
axes.set_title(f"{sum(is_siren[:10])} of the ten best are sirens (red)", loc="left")
plt.show()
