"""The one training loop: `fit(recipe)`, with progress, metrics, checkpoints and bitwise resume.

loop.py is the loop; folder.py knows the files of a run, checkpoint.py the one that holds its state.
"""

from .checkpoint import Saved, load_checkpoint, save_checkpoint
from .folder import last_result
from .loop import fit
from .result import Result
from .session import Interrupted

__all__ = ["Interrupted", "Result", "Saved", "fit", "last_result", "load_checkpoint", "save_checkpoint"]
