"""Work that the controller runs on Ray."""
