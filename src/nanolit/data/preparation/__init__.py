"""From a source to a folder of token shards: jobs, workers, receipts, the manifest."""
