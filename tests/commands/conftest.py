"""The installation of each test, and the doctor with a chat that a module breaks and mends."""

from command_parts import site
from doctor_stage import doctor, installed, mended

__all__ = ["doctor", "installed", "mended", "site"]
