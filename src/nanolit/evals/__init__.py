"""What a trained model is worth, in numbers. Tokens, or later answers, come in; no training, no files."""
