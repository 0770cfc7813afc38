"""Text to token ids and back: bytes, characters, tiktoken's encodings, BPE trained here; no model, no data set."""
