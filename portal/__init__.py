"""What we and the portal exchange: install, connect, proof, events, and the items of calls.

Knows nothing of Flask.
"""
