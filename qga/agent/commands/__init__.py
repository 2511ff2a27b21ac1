"""The handlers, one module per schema file: guest-get-load of schema/cpu.json is guest_get_load() in cpu.py.

A handler takes the context and the command's arguments by keyword (``buf-b64`` is ``buf_b64``; an optional one that
was not sent is not passed), and returns what the schema says or raises CommandError.
"""
