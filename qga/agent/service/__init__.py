"""What makes the agent a service: its log, pid file, daemon, and the protocols of syslog and systemd."""
