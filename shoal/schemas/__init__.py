"""Request and response bodies of the REST API, shared by the API and the client. Pydantic; agents import none of it.

A field that is a state holds the same lower-case word as the row and the badge. Times are aware UTC.
"""
