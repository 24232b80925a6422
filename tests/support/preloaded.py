"""What the server of forked.py imports: all that a training and a packing need, also what they import late."""

import torch.distributed  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import analysis.plots  # noqa: F401
import dataloader.pack  # noqa: F401
import engine.evaluate  # noqa: F401
import engine.train  # noqa: F401
import main  # noqa: F401
