"""Run the usual script of ICL on its own: `python benchmarks/usual_icl.py --models 8`; its text is in the package."""

from lemmata.bench.usual import main
from lemmata.bench.usual_icl import SCRIPT

if __name__ == "__main__":
    main(SCRIPT)
