"""Which process this is, for whoever asks which one of all hosts delivers."""

import os
import socket

from store.boot import boot_id
from store.records import Holder


def this_process(now: float) -> Holder:
    host = socket.gethostname()
    return Holder(host, os.getpid(), boot_id() or host, now)
