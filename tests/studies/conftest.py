"""Puts the synthetic store of this folder on the path."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]
