"""Code of models, run where it can do no harm: run.py starts it, confine.py is the process that it runs in."""

from nanolit.runtime.sandbox.run import How, Outcome, missing_layers, run, run_all

__all__ = ["How", "Outcome", "missing_layers", "run", "run_all"]
