"""The engine that carries what waits in the store to Bitrix24: nothing lost, doubled or reordered.

`docs/architecture.md` has its state table. Knows nothing of web requests.
"""
