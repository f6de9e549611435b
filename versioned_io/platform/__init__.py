"""The machine and the language: processes that fork, a clock, the modes of files, forwarded methods."""
