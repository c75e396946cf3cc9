"""The fault stories share the harness and the fixtures of the end-to-end tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from fixtures import *  # noqa: E402, F401, F403
