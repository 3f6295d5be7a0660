"""What is asked of the chain-of-thought paper, one file a claim."""
