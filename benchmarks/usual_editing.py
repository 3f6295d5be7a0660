"""Run the usual script of task vectors on its own: `python benchmarks/usual_editing.py --models 8`.

Its text is in the package.
"""

from lemmata.bench.usual import main
from lemmata.bench.usual_editing import SCRIPT

if __name__ == "__main__":
    main(SCRIPT)
