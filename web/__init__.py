"""Answers HTTP requests of visitors, of the portal and of administrators.

Each request is checked first, stored second and worked on later. Knows neither SQL nor REST
parameters.
"""
