"""The commands: one file per group. Heavy imports wait inside the handlers, so that ``--help`` is
quick.
"""
