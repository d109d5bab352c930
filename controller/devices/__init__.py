"""The registry of devices: enrolment, lifecycle, presence, desired and reported documents, receipts, selectors, groups.

Whoever uses a part of it gets `changes` too: what devices are selected by follows them in every transaction.
"""

from controller.devices import changes as changes
