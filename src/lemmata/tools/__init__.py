"""A theorem's recipe on a task or a model of one's own, as plain functions.

    examples    how many demonstrations a prompt needs, with and without intermediate steps (arXiv 2410.02167)
    edit        task vectors added to a checkpoint, or subtracted from it (arXiv 2504.10957)
    tokens      a vision transformer with fewer tokens (arXiv 2302.06015)

What edit rests on: checkpoint (reading), adapter (LoRA), vectors, recipes (what is kept of a vector), writer, card.
What tokens rests on: layers and softmax (finding them), merging; sparsity measures, with pretrained, pictures, probe,
relevance and speed.

A tool rests on the laboratory and on the theory of papers; it trains nothing.
"""
