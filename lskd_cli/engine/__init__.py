"""Training: arms, the loop, evaluation, run folders. Nothing here prints."""
