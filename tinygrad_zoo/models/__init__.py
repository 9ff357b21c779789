"""The zoo: one readable file a system, in a folder a family. A file's `RECIPE` makes it known to the command line."""
