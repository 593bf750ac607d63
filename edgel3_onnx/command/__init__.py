"""The command edgel3-onnx: its arguments, runs over many files, standard input, and what it says."""
