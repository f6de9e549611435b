"""The identity of a computation: digests of code, parameters and environment, and the difference of two codes.

- `of_function`: ``code_of_function(function, code=, code_version=, code_paths=, project=) -> CodeManifest``.
- `of_command`: ``code_of_command(text, files, code_version) -> CodeManifest``, of ``parse_command(argv, stdin=, env=)``
  and ``files_of_command(argv, directory, code_paths)``.
- `code_manifest`: `CodeManifest` (``digest``, ``parts``, ``warnings``, ``to_json``, ``from_json``) and
  ``code_difference(old, new) -> list[CodeChange]`` (``name``, ``change``, ``diff``).
- `computation`: ``fingerprint(code_digest, parameters, salt, environment, seen) -> bytes``, and for many datums
  ``computation_digest(code_digest, parameters, salt, environment)`` and ``fingerprints(computation, seen_page)``.
"""
