"""A stand-in for the vendor's newer tutorial in Python: Flask, polling, synchronous calls.

Written by us from its description. It knows nothing of the product.
"""
