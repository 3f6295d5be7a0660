"""What is asked of the ICL paper: one file a claim."""
