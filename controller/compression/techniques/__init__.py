"""One file per technique; each cites its source. Inside the sandbox."""
