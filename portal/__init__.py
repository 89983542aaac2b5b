"""What passes between us and the portal besides calls: install, connect, proof, events, items.

Knows nothing of Flask.
"""
