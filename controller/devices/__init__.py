"""The registry of devices: enrolment, lifecycle, presence, desired and reported documents, receipts."""
