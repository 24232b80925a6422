"""Former name of ``python -m simulate``: ``python -m dataloader.synthetic`` prints the new command."""

import sys

if __name__ == "__main__":
    print("error: python -m dataloader.synthetic is now python -m simulate, with the same flags", file=sys.stderr)
    sys.exit(2)
