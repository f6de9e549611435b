"""What a store means, as plain dicts: trees, transactions and three-way merges without pages, packs or catalogs."""


def parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def collides(tree):
    return any(parent in tree for path in tree for parent in parents(path))


def below(tree, directory):
    return {path: data for path, data in tree.items() if path.startswith(f"{directory}/")}


class PlainTransaction:
    """What a transaction means: the files that it wrote, the paths that it deleted first, what it counts on."""

    def __init__(self, branch, base_id, base):
        self.branch = branch
        self.base_id = base_id
        self.base = base
        self.files = {}
        self.deleted = set()
        self.read = set()

    def hides(self, path):
        return path in self.deleted or any(f"{parent}/" in self.deleted for parent in parents(path))

    @property
    def view(self):
        return {path: data for path, data in self.base.items() if not self.hides(path)} | self.files

    def delete_directory(self, directory):
        for path in below(self.files, directory):
            del self.files[path]
        self.deleted.add(f"{directory}/")

    def delete(self, path):
        if below(self.base, path) or below(self.files, path):
            self.delete_directory(path)
        self.files.pop(path, None)
        self.deleted.add(path)

    def taken_from(self, tree, origin):
        """What is at *origin*, as {the path below it: data}, or None."""
        found = {"": tree[origin]} if origin in tree else {}
        return found | {path[len(origin) + 1 :]: data for path, data in below(tree, origin).items()} or None

    def overlap(self, head):
        changed = {path for path in {*self.base, *head} if self.base.get(path) != head.get(path)}
        touched = {path for path in changed if path in self.files or self.hides(path)}
        return sorted(path for path in touched if path in self.read or head.get(path) != self.files.get(path))

    def applied_to(self, head):
        return {path: data for path, data in head.items() if not self.hides(path)} | self.files


def three_way(base, ours, theirs):
    """Return *ours* with what differs between *base* and *theirs*, and the paths that somebody must decide about."""
    changed = {path for path in {*base, *theirs} if base.get(path) != theirs.get(path)}
    both = {path for path in changed if base.get(path) != ours.get(path)}
    differing = {path for path in both if ours.get(path) != theirs.get(path)}
    added = {path for path in (changed - both) | differing if path in theirs}
    deleted = {path for path in changed - both if path not in theirs}
    there = dict.fromkeys((ours.keys() - deleted) | added)
    colliding = {path for path in there if below(there, path) or any(parent in there for parent in parents(path))}
    undecided = differing | colliding
    merged = {path: data for path, data in ours.items() if path not in deleted}
    return merged | {path: theirs[path] for path in added - undecided}, undecided


def taken(tree, other, paths):
    """Return *tree* with *paths* as they are in *other*, where some may be missing."""
    rest = {path: data for path, data in tree.items() if path not in paths}
    return rest | {path: other[path] for path in paths if path in other}
