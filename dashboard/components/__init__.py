"""What pages are made of: data in, view out. Imports NiceGUI and `dashboard.format`; never asks the controller.

Invariant: what is shown again with equal data sends nothing to the browser.
"""
