"""One run: options, data, models, training loop and evaluation. ``main.py`` calls this package."""

import os

from utils.command import hide_interrupt

# torch's threads spin while they wait for one another; beside decoding processes on few cores that costs several times
# what it saves. torch reads this when it is first imported, so it is set here; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
hide_interrupt()
