"""The Linux interfaces of the agent: files, system calls and parsers that return plain data."""
