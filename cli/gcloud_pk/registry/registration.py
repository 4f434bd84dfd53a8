"""Writing a cluster's UID into its site, with the file's comments and order left as they are."""

from __future__ import annotations

import io
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, RefusedError
from gcloud_pk.model.site import Site
from gcloud_pk.registry import files
from gcloud_pk.registry.folder import Registry


def register_cluster(root: Path, site: Site, uid: str, *, cluster: str | None = None, replace: bool = False) -> str:
    """Write `uid` into `sites/<site>.yaml` under `root`; return the cluster's name.

    Raises InvalidInputError where the cluster cannot be told, RefusedError where another UID is there and `replace`
    is not set, or where any cluster of the registry has this UID already.
    """
    names = [one.name for one in site.spec.clusters]
    if cluster is None and len(names) > 1:
        raise InvalidInputError(
            f"site {site.metadata.name} has several clusters: {', '.join(names)}", resolution="name one with --cluster"
        )
    name = cluster or names[0]
    if name not in names:
        raise InvalidInputError(f"site {site.metadata.name} has no cluster {name!r}; it has {', '.join(names)}")
    index = names.index(name)
    current = site.spec.clusters[index].uid
    if current == uid:
        return name
    if current is not None and not replace:
        raise RefusedError(
            f"cluster {name} of site {site.metadata.name} is registered with another UID ({current})",
            resolution="check --kubeconfig and --context; if the cluster was rebuilt: --replace",
        )
    path = root / "sites" / f"{site.metadata.name}.yaml"
    with files.locked(root):
        if known := Registry.open(root).cluster_by_uid(uid):
            raise RefusedError(
                f"this cluster (UID {uid}) is registered already: it is {known[1].name} of site "
                f"{known[0].metadata.name}",
                resolution="check --kubeconfig and --context; if the cluster was moved, first remove its uid from "
                f"sites/{known[0].metadata.name}.yaml",
            )
        files.write(path, _with_uid(files.read(path, root=root), index, uid), root=root)
    return name


def _with_uid(data: bytes, index: int, uid: str) -> bytes:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(data)
    entry = document["spec"]["clusters"][index]
    if "uid" in entry:
        entry["uid"] = uid
    else:
        entry.insert(1, "uid", uid)
    written = io.BytesIO()
    yaml.dump(document, written)
    return written.getvalue()
