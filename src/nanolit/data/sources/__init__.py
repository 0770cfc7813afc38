"""Text and examples as they lie somewhere, in portions that can be read alone; no tokens."""
