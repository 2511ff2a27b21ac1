"""State that outlives a request: open files and their handles, started programs, and the freeze."""
