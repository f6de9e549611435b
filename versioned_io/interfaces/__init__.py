"""Text and files to the store and back: the command line, and fsspec. Only these read the environment."""
