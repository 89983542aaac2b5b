"""Run a command without an administrator's right to write and read everywhere.

python tests/obey_permissions.py gunicorn -b 127.0.0.1:8080
"""

import ctypes
import os
import sys

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2  # linux/prctl.h, capability.h

if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            sys.exit("the right to write everywhere cannot be given up")
os.execvp(sys.argv[1], sys.argv[1:])
