"""What agent and client share: JSON as QEMU speaks it, the schema of the commands, and their errors; no I/O."""
