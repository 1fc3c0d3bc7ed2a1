"""Training, evaluation and run folders; nothing here prints."""
