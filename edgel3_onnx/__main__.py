"""``python -m edgel3_onnx`` is the command edgel3-onnx. Importing this module runs it too, as with edgel3."""

import sys

from edgel3_onnx.cli import main

if status := main():
    sys.exit(status)
