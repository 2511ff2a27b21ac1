"""Subcommands of ``qga``, a module for each subject."""
