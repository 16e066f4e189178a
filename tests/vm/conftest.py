# SPDX-License-Identifier: AGPL-3.0-only
"""Makes the package `machine` importable for every test below this folder, however pytest was started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

pytest_plugins = ["guard"]
