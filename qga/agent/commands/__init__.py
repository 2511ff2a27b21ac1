"""The handlers, one module per schema file: guest-get-load of schema/cpu.json is guest_get_load() in cpu.py.

A handler takes the context and, as keywords, the command's arguments (``buf-b64`` is ``buf_b64``; optional arguments
that were not sent are not passed). It returns what the schema specifies or raises CommandError.
"""
