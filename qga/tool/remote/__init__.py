"""Programs and terminals in the guest: exec and shell, from both ends."""
