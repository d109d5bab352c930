"""What a worker runs: the jobs, and the programs that serve them inside the sandbox."""
