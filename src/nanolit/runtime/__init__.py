"""The ground every room stands on: files, seeds, log, devices, processes. Imports nothing of ours, nor torch."""
