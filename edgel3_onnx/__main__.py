"""``python -m edgel3_onnx`` is the command edgel3-onnx."""

import sys

from edgel3_onnx.cli import main

sys.exit(main())
