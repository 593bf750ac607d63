"""Runs of embed_corpus that are killed: a server that forks for each, so that modules are imported once.

    python histories.py

reads one JSON object per line, {"arguments": {...}, "kill_at": N or null}, and answers with one: the exit status, -9 if
the run was killed at the N-th time that it touched its dataset, and its records.
"""

import json
import os
import sys
from dataclasses import asdict


def kill_at(number):
    """Let this process end, as by SIGKILL, just before or after it touches the dataset for that time."""
    from edgel3_onnx.corpora import place

    left = [number]

    def count():
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)

    def deadly(method):
        def wrapped(*args, **kwargs):
            count()
            result = method(*args, **kwargs)
            count()
            return result

        return wrapped

    for kind, name in (
        (place.Folder, "draft"),
        (place.Folder, "mark"),
        (place.Folder, "remove"),
        (place._LocalDraft, "commit"),
    ):
        setattr(kind, name, deadly(getattr(kind, name)))


def run(arguments):
    from edgel3_onnx import embed_corpus, load_embedding_model

    records = []
    model = load_embedding_model("micro", num_threads=1)
    embed_corpus(model=model, on_record=lambda record: records.append(asdict(record)), **arguments)
    return records


def main():
    import onnxruntime  # noqa: F401 - once, not in each fork
    import pyarrow.parquet  # noqa: F401

    import edgel3_onnx  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        shard = request["arguments"].get("shard")
        if shard is not None:
            request["arguments"]["shard"] = tuple(shard)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            if request["kill_at"]:
                kill_at(request["kill_at"])
            with os.fdopen(theirs, "w") as answer:
                json.dump(run(request["arguments"]), answer)
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours) as answer:
            said = answer.read()
        _, status = os.waitpid(child, 0)
        print(
            json.dumps({"status": os.waitstatus_to_exitcode(status), "records": json.loads(said or "[]")}), flush=True
        )


if __name__ == "__main__":
    main()
