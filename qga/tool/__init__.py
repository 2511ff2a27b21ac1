"""The tool ``qga``: one module for each kind of subcommand, loaded when it is asked for."""
