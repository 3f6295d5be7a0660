"""Run the usual script of vision transformers on its own: `python benchmarks/usual_vision.py --models 8`.

Its text is in the package.
"""

from lemmata.bench.usual import main
from lemmata.bench.usual_vision import SCRIPT

if __name__ == "__main__":
    main(SCRIPT)
