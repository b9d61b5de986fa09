"""The command line: verbs and names, few flags.

What belongs here: reading arguments, printing and turning errors into one sentence. Heavy packages are imported inside
the commands that need them; hyper-parameters are not flags.
"""
