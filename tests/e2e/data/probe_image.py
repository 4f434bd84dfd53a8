"""Write an OCI image archive of this machine's own bash, cat and their libraries: `python3 probe_image.py TARGET`.

Runs on a node, where no registry can be reached. Standard library only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

NAME = "localhost/probe:1"
PROGRAMS = ("/bin/bash", "/bin/cat")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer() -> bytes:
    """Return a layer of the programs and what the loader says they need."""
    paths = set(PROGRAMS)
    for program in PROGRAMS:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        paths |= {word for word in said.split() if word.startswith("/")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(paths):
            archive.add(os.path.realpath(path), arcname=path.lstrip("/"))
    return buffer.getvalue()


def image(content: bytes) -> dict[str, bytes]:
    """Return the files of an image layout with one layer (OCI image specification 1.0)."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    described = blob(content, "layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [described["digest"]]}
    settings = {"architecture": ARCHITECTURES[os.uname().machine], "os": "linux", "config": {}, "rootfs": rootfs}
    config = blob(json.dumps(settings).encode(), "config.v1+json")
    listing = {"schemaVersion": 2, "config": config, "layers": [described]}
    manifest = blob(json.dumps(listing).encode(), "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": NAME}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    return files


if __name__ == "__main__":
    with tarfile.open(Path(sys.argv[1]), "w") as target:
        for name, data in image(layer()).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))
