"""A theorem's recipe on a task or a model of one's own, as plain functions.

    examples    how many demonstrations a prompt needs, with and without intermediate steps (arXiv 2410.02167)

A tool rests on the laboratory and on the theory of papers; it trains nothing.
"""
