"""The verbs of the command line, one file each; `sokbench.cli` loads a verb when it is used."""
