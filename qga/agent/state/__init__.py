"""What outlives a request: open files by their handles, started programs, and the freeze."""
