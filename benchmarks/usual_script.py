"""Run the usual script on its own: `python benchmarks/usual_script.py --models 8`; its text is in the package."""

from lemmata.bench.usual_script import main

if __name__ == "__main__":
    main()
