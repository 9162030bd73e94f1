"""Trees as values: bytes, modes, owners and links of everything below some paths, to say "exactly as before"."""

import os
import stat


def _entry(path):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    if kind == stat.S_IFLNK:
        body = os.readlink(path)
    elif kind == stat.S_IFREG:
        with open(path, "rb") as file:
            body = file.read()
    else:
        body = None
    # A link's mode and a directory's link count say nothing of their own.
    return (kind, stat.S_IMODE(st.st_mode) if kind != stat.S_IFLNK else 0, st.st_uid, st.st_gid, body,
            st.st_nlink if kind == stat.S_IFREG else 0)


def snapshot(*roots, leave_out=()):
    tree = {}
    for root in map(str, roots):
        if not os.path.lexists(root):
            continue
        tree[root] = _entry(root)
        if os.path.islink(root):
            continue
        for parent, dirs, files in os.walk(root):
            dirs[:] = [d for d in dirs if os.path.join(parent, d) not in leave_out]
            for name in dirs + files:
                path = os.path.join(parent, name)
                if path not in leave_out:
                    tree[path] = _entry(path)
    return tree


def difference(before, after):
    """Human-readable lines, empty when equal."""
    lines = [f"gone: {p}" for p in sorted(before.keys() - after.keys())]
    lines += [f"new: {p}" for p in sorted(after.keys() - before.keys())]
    fields = ("kind", "mode", "uid", "gid", "content", "links")
    for path in sorted(before.keys() & after.keys()):
        for field, was, now in zip(fields, before[path], after[path]):
            if was != now:
                shown = (oct(was), oct(now)) if field == "mode" else (was, now)
                lines.append(f"changed {field}: {path}: {shown[0]!r:.300} -> {shown[1]!r:.300}")
    return lines
