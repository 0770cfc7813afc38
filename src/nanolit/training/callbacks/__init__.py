"""One callback per file; `conf/callbacks/` names them from here."""

from nanolit.training.callbacks.best_model import BestModel
from nanolit.training.callbacks.checkpoint import Checkpoint
from nanolit.training.callbacks.early_stopping import EarlyStopping
from nanolit.training.callbacks.evaluate import Evaluate
from nanolit.training.callbacks.interrupt import Interrupt, RunInterrupted
from nanolit.training.callbacks.metrics import Metrics
from nanolit.training.callbacks.non_finite import NonFiniteReport
from nanolit.training.callbacks.progress import Progress
from nanolit.training.callbacks.samples import Samples
from nanolit.training.callbacks.task_scores import TaskScores

__all__ = [
    "BestModel",
    "Checkpoint",
    "EarlyStopping",
    "Evaluate",
    "Interrupt",
    "Metrics",
    "NonFiniteReport",
    "Progress",
    "RunInterrupted",
    "Samples",
    "TaskScores",
]
