"""The old name of evaluate_model.py.

A folder, since Python runs a folder that holds a `__main__.py` but never imports one whose name
ends in `.py`: `import evaluate` finds Hugging Face's library, not this.
"""

import sys

sys.exit("error: evaluate.py is now: python evaluate_model.py, with the same commands")
