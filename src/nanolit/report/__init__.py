"""Pictures of results. It reads no run and computes nothing."""
