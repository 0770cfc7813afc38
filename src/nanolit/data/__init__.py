"""Text to token shards to batches: sources, preparation, windows, order, micro-batches; no trainer, no DataLoader."""
