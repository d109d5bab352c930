"""One file a noun, as in the API: what is loaded, how it is shown. A page's function draws it and starts its loading.

Imports `dashboard.page`, `dashboard.components`, `shoal.client` and `shoal.schemas`.
"""
