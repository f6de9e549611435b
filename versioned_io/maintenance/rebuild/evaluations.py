"""Entering the index of results again from the trees of the repos of results, which are the truth."""

from dataclasses import replace

from sqlalchemy import Connection

from versioned_io.catalog.evaluated import Evaluated, commits_of_results, enter_evaluated
from versioned_io.errors import IntegrityError
from versioned_io.model.commits import parse_root
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import FAILURES, INVALIDATED, MANIFESTS, fingerprint_in
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import scan


def index_results(connection: Connection, objects: ObjectStore) -> None:
    """Enter what the live commits of all repos of results say; entries that exist stay.

    A commit with a damaged tree is left out, and its datums are evaluated again.

    Cost: 1 SELECT; for each commit of a repo of results the pages of its manifests, and at most 4 statements.
    """
    pages = PageSource(objects)
    for commit_id, text, is_indexed in commits_of_results(connection):
        root = parse_root(text)
        try:
            found = Evaluated(*(_fingerprints(root, one, pages) for one in (MANIFESTS, FAILURES, INVALIDATED)))
        except IntegrityError:
            continue  # fsck names its damage
        enter_evaluated(connection, commit_id, found if is_indexed else replace(found, succeeded=()))


def _fingerprints(root: PageRef | None, prefix: str, pages: PageSource) -> list[bytes]:
    batches = scan(root, prefix, source=pages)
    return [fingerprint_in(path) for batch in batches for path in batch.column("path").to_pylist()]
