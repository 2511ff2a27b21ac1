"""The agent as a service: its log, pid file and daemon mode, and the protocols of syslog and systemd."""
