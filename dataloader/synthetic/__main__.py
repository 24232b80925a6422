"""Run as ``python -m dataloader.synthetic``: says where the command is now."""

import sys

sys.exit("error: python -m dataloader.synthetic is now python -m simulate, with the same flags")
