"""Learning alone: policies, the evidence that triggers, what a device learned."""
