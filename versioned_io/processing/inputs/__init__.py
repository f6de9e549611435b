"""The datums that an input selects of snapshots, as columns.

- `specs`: `GlobInput`, `CrossInput`, `UnionInput`, `JoinInput`, `GroupInput`, `CronInput`, `TableInput`. The functions
  of the front door build them: `glob`, `cross`, `union`, `join`, `group`, `cron`, `table`. ``names_of(spec)``,
  ``refs_of(spec)`` and ``leaves_of(spec)`` take them apart.
- `selecting`: ``list_datums(spec, snapshots) -> DatumSet``; *snapshots* maps a ref, as the input writes it, to a
  `Snapshot`.
- `table_cuts`: ``rows_of(file)`` returns the rows of a table datum.
- `affecting`: ``affected_datums(backend, spec, before, after) -> AffectedKeys`` (``changed``, ``added``, ``gone``).
- `datum_set`: `DatumSet` (``names``, ``keys``, ``len``, ``page``, ``find``, ``key``, ``keys_page``, ``datum``,
  ``seen``, ``seen_page``), its rows `DatumRow` (``key``, ``inputs``), and their files `DatumFile`.
"""
