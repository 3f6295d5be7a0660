"""What is asked of the paper on task vectors, one file a claim."""
