"""The daemon: it runs in the guest as root and answers the host."""
