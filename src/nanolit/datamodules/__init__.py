"""What the Trainer gets its batches from."""
