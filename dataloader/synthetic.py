"""The former place of ``python -m simulate``: run as ``python -m dataloader.synthetic``, it names the new command."""

import sys

if __name__ == "__main__":
    print("error: python -m dataloader.synthetic is now python -m simulate, with the same flags", file=sys.stderr)
    sys.exit(2)
