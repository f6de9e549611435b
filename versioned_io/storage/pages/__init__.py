"""Pages: a tree of files as sorted runs of Arrow rows, cut by a rule over the paths, shared between versions."""
