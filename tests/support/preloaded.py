"""What the server of tests/support/forked.py imports once, also what a run imports only when it needs it."""
# ruff: noqa: F401

import torch._dynamo
import torch.distributed
import torch.utils.tensorboard

import analysis.plots
import dataloader.pack
import engine.evaluate
import engine.train
import main
from models.clip_backbone import tokenize

tokenize(["a text"])  # imports torchvision and CLIP, and reads its vocabulary
