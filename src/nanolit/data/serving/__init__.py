"""From shards, or from text, to batches: rows, their order, micro-batches."""
