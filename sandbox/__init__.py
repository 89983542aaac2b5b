"""A small Bitrix24 portal for development, the demo and the tests.

It answers as the real one does where our product touches it: OAuth, REST,
events, placements and the operator's desk. State lives in memory. It shares
nothing with the product but HTTP.
"""
