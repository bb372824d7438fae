"""How shap runs here."""

import os

# Read when shap is imported. It would compile for seconds what runs once.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
