"""Lemmata: a laboratory for the theory of how Transformers learn."""
