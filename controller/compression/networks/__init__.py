"""PyTorch programs as layers that can be changed and trained. Inside the sandbox."""
