"""What an administrator runs: the doctor, backup, import and export, retention.

Knows nothing of Flask, and of no page: whoever shows a finding finds the words.
"""
