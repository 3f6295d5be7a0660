"""Run the usual script of graph transformers on its own: `python benchmarks/usual_graph.py --models 8`.

Its text is in the package.
"""

from lemmata.bench.usual import main
from lemmata.bench.usual_graph import SCRIPT

if __name__ == "__main__":
    main(SCRIPT)
