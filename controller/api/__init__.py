"""The operators' door: HTTP `/v1`, bearer tokens only, one router a noun, one transaction a request.

May import every room's service and tables; imports neither torch nor Ray, and never the gateway or the scheduler.
"""
