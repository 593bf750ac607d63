"""How micro, the student of SEA-64 that ships with the package, was made. Run from the root of the sources."""

import sys
from pathlib import Path

# ``python -m`` looks there first, where edgel3_onnx lies without its compiled parts; the installed one is meant.
_root = str(Path(__file__).parents[1])
if _root in sys.path:
    sys.path.remove(_root)
    sys.path.append(_root)
