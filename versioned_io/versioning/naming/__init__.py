"""Changing names: repos, branches and tags, each change in the journal as well."""
