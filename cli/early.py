"""Imported first: an interrupt while all the rest is imported ends the command without a traceback.

Until `main` has begun there is nothing to tidy up.
"""

import signal
import sys
from pathlib import Path

if (
    Path(sys.argv[0]).stem == "sitechat"
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
