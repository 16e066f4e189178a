# SPDX-License-Identifier: AGPL-3.0-only
"""Makes the package `machine` and the crafted images importable for every test below this folder, however pytest was started."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures/images")]

pytest_plugins = ["guard"]
