"""A fleet of virtual devices in one process: each with its own key, certificate, session and journal.

They speak through the agent's own code (`link`, `outbox`, `executions`, `rollouts`, `door`) and the doors that every
device uses; what stands behind it is invented: hardware, figures, and how long work takes and how it ends. Imports no
torch and no runtime. Everything but keys, ids and network jitter follows from the seed.
"""
