"""`make bench`: ours beside two stand-ins for the vendor's tutorials, in one run on one machine.

Speaks HTTP with all of them; of the product it knows its commands and settings alone.
"""
