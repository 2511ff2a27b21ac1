"""The tool ``qga``: a module for each subject of subcommands, imported when one of them is run."""
