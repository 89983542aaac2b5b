"""The doors: the visitor's, the portal's and the administrator's.

Each checks first, stores second and works later. Knows neither SQL nor REST parameters.
"""
