# SPDX-License-Identifier: AGPL-3.0-only
"""Makes the package `machine`, the crafted images and tests/support importable for every test below, however pytest was started."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures/images"), str(HERE.parent / "support")]

pytest_plugins = ["guard"]
