"""A guest agent for QEMU/KVM guests, drop-in for qemu-ga."""

__version__ = "0.1.0"
