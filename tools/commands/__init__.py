"""Commands of ``catalens``, a file each, named as the command; heavy imports stand inside."""
