"""Run the usual script of CoT on its own: `python benchmarks/usual_cot.py --models 8`; its text is in the package."""

from lemmata.bench.usual import main
from lemmata.bench.usual_cot import SCRIPT

if __name__ == "__main__":
    main(SCRIPT)
