"""The step, its loss and everything that happens around it."""
