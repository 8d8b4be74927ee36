"""The commands of ``catalens``, one small file per group; each does its heavy imports when it is
run."""
